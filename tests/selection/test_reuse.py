"""What a limit on reuse would change: counted by hand on a small case, and by another way on random ones."""

import numpy as np

from pipelines.selection import mad, reuse


def test_one_striking_image_is_counted_and_limits_replace_it() -> None:
    distances = np.array([[9.0, 1, 2, 3, 0], [9.0, 3, 2, 1, 0], [9.0, 2, 3, 1, 0], [9.0, 1, 1, 1, 3]])
    differences = mad.Differences(np.zeros((5, 1)))
    chosen = mad.select_all(distances, differences, per_pair=1, trade_off=0)
    now, half, quarter = reuse.compare(distances, differences, chosen, trade_off=0, aggregate="mean")
    assert (now.limit, now.images, now.most_used, now.replaced, now.distance) == (None, 1, 4, 0, 9.0)
    # The third and the fourth pair take their second best.
    assert (half.limit, half.images, half.most_used, half.replaced, half.distance) == (2, 3, 2, 2, 6.0)
    assert (quarter.limit, quarter.most_used, quarter.replaced) == (1, 1, 3)


def test_a_limit_that_leaves_too_few_images_is_said_to_do_so() -> None:
    differences = mad.Differences(np.zeros((6, 1)))
    distances = np.ones((4, 6))
    distances[:3, 2:] = np.nan  # three pairs share two images
    chosen = mad.select_all(distances, differences, per_pair=2, trade_off=0)
    rows = reuse.compare(distances, differences, chosen, trade_off=0, aggregate="mean")
    assert [(row.limit, row.feasible) for row in rows] == [(None, True), (2, False)]


def test_limits_that_no_choice_could_keep_are_not_tried() -> None:
    distances = np.ones((6, 4))
    chosen = mad.select_all(distances, np.zeros((4, 1)), per_pair=2, trade_off=0)
    rows = reuse.compare(distances, mad.Differences(np.zeros((4, 1))), chosen, trade_off=0, aggregate="mean")
    # Twelve choices among four images: three each at least.
    assert [row.limit for row in rows] == [None, 3]


def test_the_figures_are_those_of_the_selection_under_that_limit() -> None:
    random = np.random.default_rng(0)
    distances = random.random((10, 30)) + np.where(np.arange(30) < 3, 1.0, 0)
    distances[2, 5] = np.nan
    embeddings = random.random((30, 4))
    chosen = mad.select_all(distances, embeddings, per_pair=3, trade_off=0.2, aggregate="min")
    rows = reuse.compare(
        distances, mad.Differences(embeddings), chosen, trade_off=0.2, aggregate="min", reuse_limit=None
    )
    assert rows[0].most_used == 10
    for row in rows[1:]:
        limited = mad.select_all(
            distances, embeddings, per_pair=3, trade_off=0.2, aggregate="min", reuse_limit=row.limit
        )
        counts = np.unique(limited.indices, return_counts=True)[1]
        assert (row.images, row.most_used) == (len(counts), counts.max())
        replaced = [
            len(set(a) - set(b)) for a, b in zip(limited.indices.tolist(), chosen.indices.tolist(), strict=True)
        ]
        assert row.replaced == sum(replaced)
