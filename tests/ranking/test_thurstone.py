"""Eq. (2) against published figures, an independent probit regression, and the properties that it must have."""

import numpy as np
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from pipelines.errors import DiscernError
from pipelines.ranking import thurstone
from pipelines.ranking.thurstone import NotIdentifiableError, ThurstoneFit, comparable_groups, fit, jod, ratio

METHODS = [
    *("BSRGAN", "DASR", "DiffBIR", "FeMaSR", "LDL", "RGT"),
    *("Real-ESRGAN", "ResShift", "SeeSR", "SinSR", "StableSR", "USRGAN"),
]
# The released votes of RealSR-1K, row beats column.
PUBLISHED = np.array(
    [
        [0, 135, 87, 199, 157, 251, 143, 69, 43, 102, 91, 149],
        [233, 0, 153, 249, 212, 291, 234, 82, 73, 102, 141, 175],
        [281, 215, 0, 272, 281, 336, 264, 125, 124, 157, 207, 182],
        [169, 119, 96, 0, 146, 202, 130, 58, 54, 91, 134, 164],
        [211, 156, 87, 222, 0, 291, 145, 88, 58, 94, 88, 141],
        [117, 77, 32, 166, 77, 0, 68, 31, 12, 38, 51, 60],
        [225, 134, 104, 238, 223, 300, 0, 89, 71, 102, 128, 186],
        [299, 286, 243, 310, 280, 337, 279, 0, 110, 187, 232, 246],
        [325, 295, 244, 314, 310, 356, 297, 258, 0, 236, 218, 281],
        [266, 266, 211, 277, 274, 330, 266, 181, 132, 0, 222, 245],
        [277, 227, 161, 234, 280, 317, 240, 136, 150, 146, 0, 182],
        [219, 193, 186, 204, 227, 308, 182, 122, 87, 123, 186, 0],
    ]
)
SCORES = {
    **{"SeeSR": 0.7439, "ResShift": 0.5075, "SinSR": 0.4106, "DiffBIR": 0.2681, "StableSR": 0.2068, "USRGAN": 0.0110},
    **{"DASR": -0.0475, "Real-ESRGAN": -0.1365, "LDL": -0.2750, "BSRGAN": -0.3762, "FeMaSR": -0.4158, "RGT": -0.8970},
}

Table = NDArray[np.int64]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Counts of 3 to 6 methods, some pairs one-sided or absent, on which a finite maximum exists."""
    number = draw(st.integers(3, 6))
    counts = draw(arrays(np.int64, (number, number), elements=st.integers(0, 30)))
    np.fill_diagonal(counts, 0)
    ring = np.arange(number)
    counts[ring, (ring + 1) % number] += 1
    return np.asarray(counts, dtype=np.int64)


def probit(counts: Table) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Scores, their covariance and the log-likelihood by an independent probit regression without the first score."""
    number = len(counts)
    first, second = np.triu_indices(number, 1)
    design = np.zeros((len(first), number))
    design[np.arange(len(first)), first], design[np.arange(len(first)), second] = 1, -1
    wins = np.stack([counts[first, second], counts[second, first]], axis=1)
    voted = wins.sum(axis=1) > 0
    # Case by case, because the probit model's Hessian is the observed one; a GLM's is the expected one.
    rows = np.repeat(np.repeat(design[voted], 2, axis=0), wins[voted].ravel(), axis=0)[:, 1:]
    answers = np.repeat(np.tile([1, 0], int(voted.sum())), wins[voted].ravel())
    result = sm.Probit(answers, rows).fit(disp=0, method="newton", maxiter=200, tol=1e-14)
    centre = (np.eye(number) - 1 / number)[:, 1:]
    return centre @ result.params, centre @ result.cov_params() @ centre.T, float(result.llf)


def test_published_votes() -> None:
    result = fit(PUBLISHED, methods=METHODS)
    assert dict(zip(METHODS, result.scores.round(4), strict=True)) == pytest.approx(SCORES, abs=1e-9)
    assert result.log_likelihood == pytest.approx(-14219.8689, abs=5e-5)
    assert result.deviance == pytest.approx(265.5, abs=0.05)
    assert result.degrees_of_freedom == 55
    assert result.p_value == pytest.approx(chi2.sf(result.deviance, 55), rel=1e-12)
    assert result.number_of_votes == 24_288
    assert result.methods == tuple(METHODS)


def test_three_methods_analytically() -> None:
    result = fit([[0, 25, 0], [75, 0, 25], [0, 75, 0]])
    quartile = norm.ppf(0.75)
    np.testing.assert_allclose(result.scores, [-quartile, 0, quartile], atol=1e-10)
    assert result.deviance == pytest.approx(0, abs=1e-9)
    assert result.degrees_of_freedom == 0
    assert np.isnan(result.p_value)
    np.testing.assert_allclose(jod(result.scores), [-1, 0, 1], atol=1e-10)


@settings(max_examples=40)
@given(tables())
def test_agrees_with_an_independent_probit_regression(counts: Table) -> None:
    result = fit(counts)
    scores, covariance, log_likelihood = probit(counts)
    np.testing.assert_allclose(result.scores, scores, atol=1e-8)
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-6, atol=1e-8)
    assert result.log_likelihood == pytest.approx(log_likelihood, rel=1e-10)


def test_agrees_with_a_generalised_linear_model_on_the_published_votes() -> None:
    first, second = np.triu_indices(12, 1)
    design = np.zeros((66, 12))
    design[np.arange(66), first], design[np.arange(66), second] = 1, -1
    wins = np.stack([PUBLISHED[first, second], PUBLISHED[second, first]], axis=1)
    family = sm.families.Binomial(link=sm.families.links.Probit())
    model = sm.GLM(wins, design[:, 1:], family=family).fit(tol=1e-14, tol_criterion="params")
    result = fit(PUBLISHED)
    np.testing.assert_allclose(result.scores[1:] - result.scores[0], model.params, atol=1e-8)
    assert result.deviance == pytest.approx(float(model.deviance), rel=1e-9)


@settings(max_examples=30)
@given(tables(), st.integers(0, 1000))
def test_transposing_negates_relabelling_permutes_doubling_halves(counts: Table, seed: int) -> None:
    result = fit(counts)
    order = np.random.default_rng(seed).permutation(len(counts))
    np.testing.assert_allclose(fit(counts.T).scores, -result.scores, atol=1e-8)
    np.testing.assert_allclose(fit(counts[np.ix_(order, order)]).scores, result.scores[order], atol=1e-8)
    doubled = fit(2 * counts)
    np.testing.assert_allclose(doubled.scores, result.scores, atol=1e-8)
    np.testing.assert_allclose(doubled.covariance, result.covariance / 2, rtol=1e-6, atol=1e-9)


@settings(max_examples=30)
@given(tables(), st.sampled_from([0.0, 1e-3, 10.0]))
def test_scores_sum_to_zero_and_the_gradient_vanishes(counts: Table, ridge: float) -> None:
    result = fit(counts, ridge=ridge)
    assert result.scores.sum() == pytest.approx(0, abs=1e-10)
    np.testing.assert_allclose(result.covariance.sum(axis=1), 0, atol=1e-8)

    def objective(scores: NDArray[np.float64]) -> float:
        logs = norm.logcdf(scores[:, None] - scores[None, :])
        return float((counts * logs).sum() - ridge / 2 * (scores**2).sum())

    steps = np.eye(len(counts)) * 1e-4
    best = objective(result.scores)
    assert all(objective(result.scores + sign * step) <= best for step in steps for sign in (-1, 1))
    curvature = [(objective(result.scores + s) + objective(result.scores - s) - 2 * best) / 1e-8 for s in steps]
    np.testing.assert_allclose(-np.array(curvature), np.diagonal(result.information), rtol=1e-3, atol=1e-2)


def test_covariance_inverts_the_information_on_the_subspace() -> None:
    result = fit(PUBLISHED)
    centre = np.eye(12) - 1 / 12
    np.testing.assert_allclose(result.covariance @ result.information, centre, atol=1e-10)


def test_expected_counts_give_back_the_scores() -> None:
    truth = np.array([-1.5, -0.25, 0.5, 1.25])
    counts = 40 * norm.cdf(truth[:, None] - truth[None, :])
    np.fill_diagonal(counts, 0)
    np.testing.assert_allclose(fit(counts).scores, truth, atol=1e-9)


def test_extreme_but_identifiable_votes_converge() -> None:
    chain = np.zeros((6, 6))
    above = np.arange(5)
    chain[above, above + 1], chain[above + 1, above] = 1e6, 1
    result = fit(chain)
    np.testing.assert_allclose(-np.diff(result.scores), norm.isf(1 / (1e6 + 1)), rtol=1e-9)


def test_the_ratio_neither_underflows_nor_divides_by_zero() -> None:
    np.testing.assert_allclose(ratio(np.array([-1e3, 0.0, 1e3])), [1e3, np.sqrt(2 / np.pi), 0], rtol=1e-5)


def refused(counts: object, methods: list[str] | None = None) -> NotIdentifiableError:
    with pytest.raises(NotIdentifiableError) as caught:
        fit(np.array(counts), methods=methods)
    return caught.value


def test_groups_are_named_from_never_losing_to_never_winning() -> None:
    counts = np.zeros((5, 5))
    for winner, loser in [(3, 1), (1, 3), (1, 0), (0, 4), (4, 0), (4, 2), (3, 2)]:
        counts[winner, loser] = 2
    error = refused(counts, ["a", "b", "c", "d", "e"])
    assert error.groups == (("b", "d"), ("a", "e"), ("c",))
    assert "[b, d] > [a, e] > [c]" in str(error)
    assert "ridge" in str(error)
    assert "more votes" in str(error)


def test_every_linear_extension_keeps_winners_first() -> None:
    """A long chain of wins in scrambled labels: the order must follow the wins, not the labels."""
    order = np.random.default_rng(5).permutation(9)
    counts = np.zeros((9, 9))
    counts[order[:-1], order[1:]] = 1
    assert [group[0] for group in comparable_groups(counts)] == order.tolist()


def test_disconnected_tables_have_no_scores() -> None:
    error = refused([[0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 3], [0, 0, 1, 0]])
    assert error.groups == (("0", "1"), ("2", "3"))
    assert refused([[0, 5], [0, 0]]).groups == (("0",), ("1",))
    assert refused([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).groups == (("0", "1"), ("2",))


def test_one_vote_against_the_stream_makes_scores_finite() -> None:
    counts = np.triu(np.full((4, 4), 9), 1)
    refused(counts)
    counts[3, 0] = 1
    assert np.isfinite(fit(counts).scores).all()


def test_a_ridge_gives_finite_scores_and_is_recorded() -> None:
    result: ThurstoneFit = fit([[0, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4], [0, 0, 0, 0]], ridge=0.01)
    assert result.ridge == 0.01
    assert result.scores[0] > 1 > -1 > result.scores[1]
    assert result.scores[2] + result.scores[3] == pytest.approx(0, abs=1e-9)
    # Two pairs with votes determine two scores, one in each part.
    assert result.degrees_of_freedom == 0
    stronger = fit([[0, 5], [0, 0]], ridge=1.0).scores
    np.testing.assert_allclose(5 * ratio(stronger[0] - stronger[1]), stronger[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[0, 1, 1], [1, 0, 1]], r"\(N, N\).*got shape \(2, 3\)"),
        ([0, 1], "got shape"),
        ([[0]], "at least 2 methods"),
        ([[0, -1], [1, 0]], r"not negative, got -1.0 at \[0, 1\]"),
        ([[0, 1], [float("nan"), 0]], r"got nan at \[1, 0\]"),
        ([[0, 1], [float("inf"), 0]], "finite"),
        ([[0, 1], [1, 2]], r"diagonal, got 2.0 at \[1, 1\]"),
        ([[0, 0], [0, 0]], "no votes"),
    ],
)
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_bad_counts(counts: object, message: str, ridge: float) -> None:
    with pytest.raises(DiscernError, match=message):
        fit(counts, ridge=ridge)  # type: ignore[arg-type]


@pytest.mark.parametrize("methods", [["a"], ["a", "b", "c"]])
def test_a_wrong_number_of_names(methods: list[str]) -> None:
    with pytest.raises(DiscernError, match="2 methods need 2 names"):
        fit([[0, 1], [1, 0]], methods=methods)


def test_duplicate_names() -> None:
    with pytest.raises(DiscernError, match="its own name"):
        fit([[0, 1], [1, 0]], methods=["a", "a"])


@pytest.mark.parametrize("ridge", [-1e-9, float("nan"), float("inf")])
def test_bad_ridge(ridge: float) -> None:
    with pytest.raises(DiscernError, match="ridge must be"):
        fit([[0, 1], [1, 0]], ridge=ridge)


def test_a_step_that_overshoots_is_shortened_until_the_likelihood_no_longer_falls() -> None:
    wins, start, step = np.array([[0.0, 3], [1, 0]]), np.zeros(2), np.array([100.0, -100])
    length = thurstone._step_length(wins, 0.0, start, step)

    def likelihood(scores: NDArray[np.float64]) -> float:
        return float((wins * norm.logcdf(scores[:, None] - scores[None, :])).sum())

    assert 0 < length < 1
    assert likelihood(start + length * step) >= likelihood(start) > likelihood(start + 2 * length * step)
