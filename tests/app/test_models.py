"""What the database itself refuses, whatever the code in front of it does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app import database, studies
from app.models import Base
from app.store import Store
from tests.app import seats

HASH = "0" * 64
VOTE = (
    "INSERT INTO votes (trial_id, revision, choice, response_ms, input, device_pixel_ratio, window_width, "
    "window_height, screen_width, screen_height, hidden, pixels, left_sha256, right_sha256) SELECT id, {revision}, "
    "{choice}, {ms}, {input}, {ratio}, 1, 1, 1, 1, {hidden}, {pixels}, {left}, NULL "
    "FROM trials WHERE study_id = {study} AND number = {number}"
)
UNDO = "INSERT INTO votes (trial_id, revision) SELECT id, 2 FROM trials WHERE study_id = 1 AND number = 1"
PAIR = (
    'INSERT INTO pairs (study_id, low_resolution_image_id, first, second, first_output_id, second_output_id, "group", '
    "rank, distance, semantics, score) SELECT {study}, a.low_resolution_image_id, {first}, {second}, a.id, b.id, 'g', "
    "{rank}, 0, 0, 0 FROM outputs a, outputs b WHERE {which} LIMIT 1"
)
SUBJECT = (
    "INSERT INTO subjects (study_id, invite_id, number, simulated, seed, consent_id, protocol_id, completion_code, "
    "total, voted) SELECT {study}, i.id, {number}, {simulated}, 1, c.id, p.id, 'x', {total}, {voted} "
    "FROM invites i, consents c, protocols p WHERE i.study_id = {of_invite} AND i.simulated = {of_simulated} "
    "AND c.study_id = {of_consent} AND p.study_id = {of_protocol} LIMIT 1"
)
TRIAL = (
    "INSERT INTO trials (study_id, subject_id, simulated, block_id, kind, pair_id, probe_id, number, first_on_left) "
    "SELECT {study}, s.id, {simulated}, b.id, {kind}, {pair}, {probe}, {number}, true "
    "FROM subjects s, blocks b, pairs p, probes q WHERE s.study_id = {of_subject} AND p.study_id = {of_pair} "
    "AND q.study_id = {of_probe} AND b.subject_id = {block_of} AND {seen} EXISTS "
    "(SELECT FROM trials t WHERE t.subject_id = s.id AND t.pair_id = p.id AND t.kind = 'test') LIMIT 1"
)
PROBE = (
    "INSERT INTO probes (study_id, kind, content, first_sha256, second_sha256, made) "
    "SELECT 1, {kind}, 'x', first_sha256, {second}, 'x' FROM probes WHERE kind = 'gold' LIMIT 1"
)
BLOCK = "INSERT INTO blocks (subject_id, number, sitting, purpose) VALUES ({subject}, {number}, {sitting}, {purpose})"
IMAGE_FILE = "INSERT INTO image_files (sha256, width, height, png_bytes, webp_bytes) VALUES "
RECRUIT = (
    "INSERT INTO recruits (subject_id, invite_id, platform, participant, parameters) "
    "SELECT {subject}, id, {platform}, {participant}, '{{}}' FROM invites WHERE study_id = 1 LIMIT 1"
)
ANSWER = "INSERT INTO answers (subject_id, step, content) VALUES ((SELECT min(id) FROM subjects), {step}, '{{}}')"
CALIBRATION = "INSERT INTO calibrations (study_id, ranking_id, options, result, model, created_by) VALUES "
JOB = "INSERT INTO jobs (calibration_id, status, error, finished_at, done, total) SELECT id, "


def vote(**changes: Any) -> str:
    values = {"study": 1, "number": 2, "revision": 1, "choice": "'left'", "ms": "1", "input": "'key'", "ratio": "1"}
    values |= {"hidden": "false", "pixels": "'unverifiable'", "left": "NULL"}
    return VOTE.format(**values | changes)


def pair(
    which: str, *, study: int = 1, first: str = "a.method_position", second: str = "b.method_position", rank: int = 1
) -> str:
    return PAIR.format(study=study, first=first, second=second, rank=rank, which=which)


def subject(**changes: Any) -> str:
    values = {"study": 1, "number": 99, "simulated": "false", "total": 5, "voted": 0}
    values |= {"of_invite": 1, "of_simulated": "false", "of_consent": 1, "of_protocol": 1}
    return SUBJECT.format(**values | changes)


def trial(**changes: Any) -> str:
    values = {"study": 1, "simulated": "false", "number": 99, "of_subject": 1, "of_pair": 1, "seen": "NOT"}
    values |= {"kind": "'test'", "pair": "p.id", "probe": "NULL", "of_probe": 1, "block_of": "s.id"}
    return TRIAL.format(**values | changes)


def probe(kind: str = "'gold'", second: str = f"'{HASH}'") -> str:
    return PROBE.format(kind=kind, second=second)


def block(**changes: Any) -> str:
    values = {"subject": ONE_SUBJECT, "number": 9, "sitting": 1, "purpose": "'trials'"}
    return BLOCK.format(**values | changes)


def recruit(**changes: Any) -> str:
    values = {"subject": LAST_SUBJECT, "platform": "'prolific'", "participant": "'new'"}
    return RECRUIT.format(**values | changes)


def study(name: str = "'other'", state: str = "'open'", share: str = "NULL") -> str:
    return (
        "INSERT INTO studies (name, title, state, description, workspace, trials_per_subject) "
        f"VALUES ({name}, 'x', {state}, '{{}}', '/', {share})"
    )


def ranking(**changes: Any) -> str:
    values = {"voters": "'people'", "votes": 1, "vote": "(SELECT min(id) FROM votes)", "ridge": 0, "level": 0.95}
    values |= changes
    return (
        "INSERT INTO rankings (study_id, voters, votes, last_vote_id, ridge, level, result, created_by) VALUES (1, "
        "{voters}, {votes}, {vote}, {ridge}, {level}, '{{}}', 'x')".format(**values)
    )


def job(status: str, error: str = "NULL", finished: str = "NULL", done: int = 0, total: int = 0) -> str:
    idle = "FROM calibrations WHERE id NOT IN (SELECT calibration_id FROM jobs WHERE calibration_id IS NOT NULL)"
    return f"{JOB}'{status}', {error}, {finished}, {done}, {total} {idle}"


def prerun(**changes: Any) -> str:
    values = {"size": 50, "round": 1} | changes
    return (
        "INSERT INTO preruns (study_file, title, description, workspace, images_per_part, token, round, created_by) "
        "VALUES ('/s.toml', 's', '{{}}', '/w', {size}, 't', {round}, 'x')".format(**values)
    )


def part(**changes: Any) -> str:
    values = {"prerun": "(SELECT min(id) FROM preruns)", "step": "'outputs'", "method": "'m'", "slot": "'part-0002'"}
    values |= {"images": f"'{{{HASH}}}'"} | changes
    return (
        "INSERT INTO prerun_parts (prerun_id, round, step, method, slot, images) "
        "VALUES ({prerun}, 1, {step}, {method}, {slot}, {images})".format(**values)
    )


STEP = {"method": "NULL", "slot": "NULL", "images": "'{}'"}
IDLE_PART = "SELECT id FROM prerun_parts WHERE id NOT IN (SELECT part_id FROM jobs WHERE part_id IS NOT NULL) LIMIT 1"


def session(user: str, of_subject: str) -> str:
    return (
        "INSERT INTO sessions (token_sha256, user_id, subject_id, expires_at) VALUES "
        f"('x', {user}, {of_subject}, now())"
    )


def output(**changes: Any) -> str:
    values = {"study": 1, "image": "(SELECT min(id) FROM low_resolution_images)", "method": 0, "sha256": f"'{HASH}'"}
    values |= {"width": 1} | changes
    return (
        "INSERT INTO outputs (study_id, low_resolution_image_id, method_position, sha256, width, height) VALUES "
        "({study}, {image}, {method}, {sha256}, {width}, 1)".format(**values)
    )


def image(stem: str) -> str:
    return (
        "INSERT INTO low_resolution_images (study_id, stem, sha256, width, height) "
        f"VALUES (1, '{stem}', '{HASH}', 1, 1)"
    )


ONE_USER = "(SELECT id FROM users)"
ONE_SUBJECT = "(SELECT min(id) FROM subjects)"
LAST_SUBJECT = "(SELECT max(id) FROM subjects)"
# `spare` is an LR image with the outputs of all methods and no pair; `bare` has no output.
SPARE = "(SELECT id FROM low_resolution_images WHERE stem = 'spare')"
BARE = "(SELECT id FROM low_resolution_images WHERE stem = 'bare')"
SAME_IMAGE = f"a.low_resolution_image_id = {SPARE} AND b.low_resolution_image_id = {SPARE}"
OTHER_IMAGE = f"a.low_resolution_image_id = {SPARE} AND b.study_id = 1 AND b.low_resolution_image_id <> {SPARE}"

REFUSED = [
    # Studies.
    (study("'small'"), "uq_studies_name"),
    (study("'Large'"), "ck_studies_name"),
    (study("'../etc'"), "ck_studies_name"),
    (study("''"), "ck_studies_name"),
    (study("repeat('a', 64)"), "ck_studies_name"),
    (study(state="'paused'"), "ck_studies_state"),
    (study(share="0"), "ck_studies_trials_per_subject"),
    ("DELETE FROM studies WHERE id = 1", "fk_"),
    # Images, methods, outputs.
    (
        f"INSERT INTO low_resolution_images (study_id, stem, sha256, width, height) SELECT 1, stem, '{HASH}', 1, 1 "
        "FROM low_resolution_images LIMIT 1",
        "uq_low_resolution_images_study_id_stem",
    ),
    (
        "INSERT INTO low_resolution_images (study_id, stem, sha256, width, height) VALUES (1, 'x', 'x', 1, 1)",
        "ck_low_resolution_images_sha256",
    ),
    ("UPDATE low_resolution_images SET width = 0", "ck_low_resolution_images_size"),
    ("INSERT INTO methods (study_id, position, name) VALUES (1, 9, 'bicubic')", "uq_methods_study_id_name"),
    ("INSERT INTO methods (study_id, position, name) VALUES (1, 0, 'new')", "uq_methods_study_id_position"),
    (output(), "uq_outputs_low_resolution_image_id_method_position"),
    (output(method=9), "fk_outputs_study_id_method_position"),
    (output(study=2, image=BARE), "fk_outputs_low_resolution_image_id_study_id"),
    (output(sha256=f"'{HASH[:-1]}G'"), "ck_outputs_sha256"),
    (output(width=0), "ck_outputs_size"),
    # Pairs.
    (pair(f"{SAME_IMAGE} AND a.method_position > b.method_position"), "ck_pairs_order"),
    (pair(f"{SAME_IMAGE} AND a.id = b.id"), "ck_pairs_order"),
    (pair(f"{OTHER_IMAGE} AND a.method_position < b.method_position"), "fk_pairs_second_output"),
    (pair(f"{SAME_IMAGE} AND a.method_position = 1 AND b.method_position = 2", first="0"), "fk_pairs_first_output"),
    (pair(f"{SAME_IMAGE} AND a.method_position < b.method_position", study=2), "fk_pairs_"),
    (
        pair("EXISTS (SELECT FROM pairs WHERE first_output_id = a.id AND second_output_id = b.id)"),
        "uq_pairs_low_resolution_image_id_first_second",
    ),
    ("UPDATE pairs SET rank = 0", "ck_pairs_rank"),
    # Image files and probes.
    (f"{IMAGE_FILE}('x', 1, 1, 1, NULL)", "ck_image_files_sha256"),
    (f"{IMAGE_FILE}('{'1' * 64}', 0, 1, 1, NULL)", "ck_image_files_size"),
    (f"{IMAGE_FILE}('{'1' * 64}', 1, 1, 0, NULL)", "ck_image_files_bytes"),
    (f"{IMAGE_FILE}('{'1' * 64}', 1, 1, 9, 9)", "ck_image_files_bytes"),
    (f"{IMAGE_FILE}('{HASH}', 1, 1, 9, 8)", "pk_image_files"),
    (probe("'dummy'"), "ck_probes_kind"),
    (probe("'identical'"), "ck_probes_identical"),
    (probe(second="first_sha256"), "ck_probes_identical"),
    (probe(second=f"'{'1' * 64}'"), "fk_probes_second_sha256"),
    (probe(second="second_sha256"), "uq_probes_study_id_kind_first_sha256_second_sha256"),
    # Invitations and subjects.
    ("INSERT INTO invites (study_id, token, kind) SELECT 1, token, 'single' FROM invites", "uq_invites_token"),
    ("INSERT INTO invites (study_id, token, kind) VALUES (1, 'x', 'public')", "ck_invites_kind"),
    (subject(number=1), "uq_subjects_"),
    (subject(number=0), "ck_subjects_number"),
    (subject(simulated="true"), "fk_subjects_invite_id_study_id_simulated"),
    (subject(of_invite=2), "fk_subjects_invite_id_study_id_simulated"),
    (subject(of_consent=2), "fk_subjects_consent_id_study_id"),
    (subject(of_protocol=2), "fk_subjects_protocol_id_study_id"),
    (subject(total=0), "ck_subjects_progress"),
    (subject(voted=6), "ck_subjects_progress"),
    (subject(voted=-1), "ck_subjects_progress"),
    # Changing the invitation under a subject, or a subject's kind under the trials.
    ("UPDATE invites SET simulated = true WHERE study_id = 1", "fk_subjects_invite_id_study_id_simulated"),
    ("UPDATE subjects SET simulated = true WHERE study_id = 1", "fk_trials_subject_id_study_id_simulated"),
    (recruit(subject="(SELECT subject_id FROM recruits)"), "uq_recruits_subject_id"),
    (recruit(participant="'known'"), "uq_recruits_invite_id_platform_participant"),
    (recruit(platform="'street'"), "ck_recruits_platform"),
    # Steps before the trials, and blocks.
    (ANSWER.format(step="'breakfast'"), "ck_answers_step"),
    ("UPDATE answers SET content = '{}'", "append-only: UPDATE on answers"),
    ("DELETE FROM answers", "append-only: DELETE on answers"),
    ("TRUNCATE answers", "append-only: TRUNCATE on answers"),
    ("TRUNCATE subjects CASCADE", "append-only: TRUNCATE"),
    (block(number=2), "uq_blocks_subject_id_number"),
    (block(number=0), "ck_blocks_number"),
    (block(sitting=0), "ck_blocks_number"),
    (block(purpose="'rest'"), "ck_blocks_purpose"),
    (block(subject=1_000_000), "fk_blocks_subject_id"),
    # Trials.
    (trial(of_pair=2), "fk_trials_pair_id_study_id"),
    (trial(of_subject=2), "fk_trials_subject_id_study_id_simulated"),
    (trial(simulated="true"), "fk_trials_subject_id_study_id_simulated"),
    (trial(seen=""), "uq_trials_subject_id_pair_id_kind"),
    (trial(kind="'repeat'", seen=""), "uq_trials_subject_id_pair_id_kind"),
    (trial(kind="'dummy'"), "ck_trials_kind"),
    (trial(kind="'gold'"), "ck_trials_of_a_pair_or_a_probe"),
    (trial(kind="'gold'", pair="NULL"), "ck_trials_of_a_pair_or_a_probe"),
    (trial(pair="NULL", probe="q.id"), "ck_trials_of_a_pair_or_a_probe"),
    (trial(probe="q.id"), "ck_trials_of_a_pair_or_a_probe"),
    (trial(kind="'gold'", pair="NULL", probe="q.id", of_probe=2), "fk_trials_probe_id_study_id"),
    (trial(block_of=LAST_SUBJECT), "fk_trials_block_id_subject_id"),
    (trial(number=1), "uq_trials_subject_id_number"),
    (trial(number=0), "ck_trials_number"),
    ("DELETE FROM trials WHERE number = 1", "append-only: DELETE on trials"),
    ("UPDATE trials SET first_on_left = NOT first_on_left", "append-only: UPDATE on trials"),
    # Votes.
    (vote(number=1), "uq_votes_trial_id_revision"),
    (vote(revision=0), "ck_votes_revision"),
    (UNDO.replace("2 FROM", "1 FROM"), "uq_votes_trial_id_revision"),
    (vote(choice="'both'"), "ck_votes_choice"),
    (vote(choice="'Left'"), "ck_votes_choice"),
    (vote(ms="NULL"), "ck_votes_complete"),
    (vote(input="NULL"), "ck_votes_complete"),
    (vote(hidden="NULL"), "ck_votes_complete"),
    (vote(pixels="'same'"), "ck_votes_pixels"),
    (vote(pixels="NULL"), "not-null"),
    (vote(left="'abc'"), "ck_votes_sha256"),
    (vote(input="'mouse'"), "ck_votes_input"),
    (vote(ms="-1"), "ck_votes_response_ms"),
    (vote(ms="'NaN'"), "ck_votes_response_ms"),
    (vote(ms="'Infinity'"), "ck_votes_response_ms"),
    (vote(ratio="0"), "ck_votes_device_pixel_ratio"),
    (vote(ratio="'NaN'"), "ck_votes_device_pixel_ratio"),
    ("INSERT INTO votes (id, trial_id) VALUES (7, gen_random_uuid())", "GENERATED ALWAYS"),
    (vote().replace("SELECT id", "SELECT gen_random_uuid()"), "fk_votes_trial_id"),
    ("UPDATE votes SET choice = 'right'", "trials and votes are append-only: UPDATE on votes is refused"),
    ("UPDATE votes SET hidden = hidden", "append-only: UPDATE"),
    ("UPDATE votes SET choice = 'left' WHERE false", "append-only: UPDATE"),
    ("DELETE FROM votes", "append-only: DELETE"),
    ("DELETE FROM votes WHERE false", "append-only: DELETE"),
    ("TRUNCATE votes", "cannot truncate a table referenced in a foreign key"),
    ("TRUNCATE votes CASCADE", "append-only: TRUNCATE"),
    ("TRUNCATE trials CASCADE", "append-only: TRUNCATE"),
    ("TRUNCATE studies CASCADE", "append-only: TRUNCATE"),
    (vote(number=1) + " ON CONFLICT (trial_id, revision) DO UPDATE SET choice = 'right'", "append-only: UPDATE"),
    # Counters.
    ("UPDATE tallies SET issued_first_left = issued_first_right + 2", "ck_tallies_counterbalanced"),
    ("UPDATE tallies SET issued_first_left = -1, issued_first_right = -1", "ck_tallies_issued"),
    ("UPDATE tallies SET wins_first = -1, wins_second = 1", "ck_tallies_wins"),
    ("UPDATE tallies SET wins_first = 1, not_sure = -1", "ck_tallies_wins"),
    ("UPDATE tallies SET voted_first_left = -1, voted_first_right = 1", "ck_tallies_voted"),
    ("UPDATE tallies SET wins_first = wins_first + 1", "ck_tallies_every_vote_counts"),
    ("UPDATE tallies SET voted_first_left = voted_first_left + 1", "ck_tallies_every_vote_counts"),
    (
        "UPDATE tallies SET wins_first = issued_first_left + 1, voted_first_left = issued_first_left + 1, "
        "wins_second = 0, voted_first_right = 0",
        "ck_tallies_votes_are_on_issued_trials",
    ),
    ("INSERT INTO tallies (pair_id, simulated) SELECT pair_id, simulated FROM tallies LIMIT 1", "pk_tallies"),
    ("INSERT INTO tallies (pair_id, simulated) VALUES (1000000, false)", "fk_tallies_pair_id"),
    # Rankings, calibrations, jobs.
    (ranking(voters="'everybody'"), "ck_rankings_voters"),
    (ranking(votes=0), "ck_rankings_votes"),
    (ranking(vote=1_000_000), "fk_rankings_last_vote_id"),
    (ranking(ridge=-1), "ck_rankings_settings"),
    (ranking(level=1), "ck_rankings_settings"),
    (f"{CALIBRATION} (2, (SELECT id FROM rankings), '{{}}', NULL, NULL, 'x')", "fk_calibrations_ranking_id_study_id"),
    (
        f"{CALIBRATION} (1, (SELECT id FROM rankings), '{{}}', '{{}}', NULL, 'x')",
        "ck_calibrations_result_with_model",
    ),
    (job("asleep"), "ck_jobs_status"),
    (job("failed", finished="now()"), "ck_jobs_error"),
    (job("succeeded", error="'x'", finished="now()"), "ck_jobs_error"),
    (job("succeeded"), "ck_jobs_finished"),
    (job("running", finished="now()"), "ck_jobs_finished"),
    (job("running", done=2, total=1), "ck_jobs_progress"),
    ("INSERT INTO jobs (calibration_id) SELECT calibration_id FROM jobs LIMIT 1", "uq_jobs_calibration_id"),
    ("INSERT INTO jobs (part_id) SELECT part_id FROM jobs WHERE part_id IS NOT NULL", "uq_jobs_part_id"),
    ("INSERT INTO jobs (part_id) VALUES (1000000)", "fk_jobs_part_id"),
    ("INSERT INTO jobs (status) VALUES ('queued')", "ck_jobs_one_purpose"),
    (f"INSERT INTO jobs (calibration_id, part_id) SELECT max(id), ({IDLE_PART}) FROM calibrations", "one_purpose"),
    (f"INSERT INTO jobs (part_id, queue) SELECT ({IDLE_PART}), 'tpu'", "ck_jobs_queue"),
    # Pre-runs and their parts.
    (prerun(size=0), "ck_preruns_images_per_part"),
    (prerun(round=0), "ck_preruns_round"),
    (part(prerun=1_000_000), "fk_prerun_parts_prerun_id"),
    (part(step="'dream'", **STEP), "ck_prerun_parts_step"),
    (part(slot="'part-0001'"), "uq_prerun_parts_prerun_id_round_method_slot"),
    (part(method="NULL"), "ck_prerun_parts_outputs_of_a_method"),
    (part(slot="NULL"), "ck_prerun_parts_outputs_of_a_method"),
    (part(step="'select'", images="'{}'", slot="NULL"), "ck_prerun_parts_outputs_of_a_method"),
    (part(images="'{}'"), "ck_prerun_parts_outputs_of_images"),
    (part(step="'select'", method="NULL", slot="NULL"), "ck_prerun_parts_outputs_of_images"),
    # A round is prepared once, and selects once.
    (part(step="'prepare'", **STEP), "ix_prerun_parts_prerun_id_round_step"),
    # Users and sessions.
    ("INSERT INTO users (name, password_hash, role) VALUES ('ADA', 'x', 'admin')", "ix_users_"),
    ("INSERT INTO users (name, password_hash, role) VALUES ('ada', 'x', 'experimenter')", "ix_users_"),
    ("INSERT INTO users (name, password_hash, role) VALUES ('Bob', 'x', 'root')", "ck_users_role"),
    (
        "INSERT INTO set_up_links (token_sha256, role, expires_at) VALUES ('x', 'subject', now())",
        "ck_set_up_links_role",
    ),
    (session("NULL", "NULL"), "ck_sessions_one_owner"),
    (session(ONE_USER, ONE_SUBJECT), "ck_sessions_one_owner"),
    (session("1000000", "NULL"), "fk_sessions_user_id"),
    (session("NULL", "1000000"), "fk_sessions_subject_id"),
]

# The same statements with good values, so that a refusal above is due to the value that differs.
ACCEPTED = [
    study(),
    study("'a'", "'draft'", "1"),
    output(image=BARE),
    pair(f"{SAME_IMAGE} AND a.method_position < b.method_position"),
    subject(),
    f"{IMAGE_FILE}('{'1' * 64}', 1, 1, 9, 8)",
    f"{IMAGE_FILE}('{'1' * 64}', 1, 1, 9, NULL)",
    probe(),
    probe("'identical'", "first_sha256"),
    recruit(),
    ANSWER.format(step="'acuity'"),
    block(),
    trial(),
    trial(kind="'gold'", pair="NULL", probe="q.id"),
    vote(),
    vote(pixels="'verified'", left=f"'{HASH}'"),
    vote(choice="NULL", ms="NULL", input="NULL", hidden="NULL"),
    vote(choice="'not_sure'"),
    UNDO,
    vote(choice="'right'", ms="0", input="'click'", ratio="1.5"),
    ranking(),
    f"{CALIBRATION} (1, (SELECT id FROM rankings), '{{}}', '{{}}', 'x', 'x')",
    job("running", done=1, total=2),
    job("failed", error="'x'", finished="now()"),
    job("succeeded", finished="now()"),
    f"INSERT INTO jobs (part_id) {IDLE_PART}",
    prerun(),
    part(),
    part(step="'select'", **STEP),
    "INSERT INTO users (name, password_hash, role) VALUES ('Bob', 'x', 'experimenter')",
    session(ONE_USER, "NULL"),
    session("NULL", ONE_SUBJECT),
    "UPDATE tallies SET issued_first_left = issued_first_right + 1",
    "UPDATE tallies SET voted_first_left = issued_first_left, voted_first_right = issued_first_right, "
    "wins_first = issued_first_left, wins_second = 0, not_sure = issued_first_right",
]


@pytest.fixture(scope="module")
def filled(postgres: str, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database with two studies, a subject of each, trials, a vote, a ranking, a calibration, a user."""
    name = "test_models"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_discern")  # type: ignore[arg-type]
    url = postgres.replace("/postgres?", f"/{name}?")
    sessions = database.sessions(url)
    store = Store(tmp_path_factory.mktemp("store").as_uri())
    with sessions.begin() as db:
        for title in ("small", "second"):
            made = studies.import_workspace(db, store, workspace, name=title)
            studies.set_state(db, made, "open")
            seats.take(db, [*["test"] * 4, "gold", "repeat"], study_name=title)
    sessions.kw["bind"].dispose()
    with psycopg.connect(url) as connection:
        for statement in (
            f"{IMAGE_FILE}('{HASH}', 1, 1, 9, NULL)",
            recruit(subject=ONE_SUBJECT, participant="'known'"),
            ANSWER.format(step="'questions'"),
            vote(number=1),
            ranking(),
            f"{CALIBRATION} (1, (SELECT id FROM rankings), '{{}}', NULL, NULL, 'x')",
            job("queued"),
            f"{CALIBRATION} (1, (SELECT id FROM rankings), '{{}}', NULL, NULL, 'x')",
            prerun(),
            part(step="'prepare'", **STEP),
            "INSERT INTO jobs (part_id) SELECT id FROM prerun_parts",
            part(slot="'part-0001'"),
            "INSERT INTO users (name, password_hash, role) VALUES ('Ada', 'x', 'admin')",
            image("bare"),
            image("spare"),
            *(output(image=SPARE, method=method) for method in range(3)),
        ):
            assert connection.execute(statement).rowcount == 1, statement  # type: ignore[arg-type]
    yield url
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@pytest.fixture
def connection(filled: str) -> Iterator[psycopg.Connection]:
    """Within a transaction that is taken back."""
    with psycopg.connect(filled) as made:
        yield made
        made.rollback()


@pytest.mark.parametrize(("statement", "reason"), REFUSED)
def test_the_database_refuses(connection: psycopg.Connection, statement: str, reason: str) -> None:
    with pytest.raises(psycopg.DatabaseError) as refusal:
        connection.execute(statement)  # type: ignore[arg-type]
    assert reason in f"{refusal.value} {refusal.value.diag.message_hint}"


@pytest.mark.parametrize("statement", ACCEPTED)
def test_the_database_takes(connection: psycopg.Connection, statement: str) -> None:
    assert connection.execute(statement).rowcount >= 1  # type: ignore[arg-type]


def test_every_check_of_the_models_is_tried_above() -> None:
    """A new one comes with a statement that it refuses."""
    tried = [reason for _, reason in REFUSED]
    checks = {
        str(constraint.name)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if str(constraint.name).startswith("ck_")
    }
    assert checks
    assert checks - set(tried) == set()
