"""What is known of an output, in words."""

from app import comparison


def test_facts_are_put_into_words_the_important_ones_first() -> None:
    facts = {
        "stage": "methods/abc",
        "code": "0.1.0+12",
        "tile": 512.0,
        "seconds": 1.23456,
        "kind": "checkpoint",
        "weights_sha256": "ab" * 32,
        "peak_memory": 3 * 2**20,
        "image": "cd" * 32,
        "files": {"config.yml": "ef" * 32},
        "half": False,
        "command": ["a", "b"],
        "of": None,
        "parameters": {},
        "config": "",
    }
    assert comparison.texts(facts) == (
        ("kind", "checkpoint"),
        ("weights sha256", "abababababab"),
        ("seconds", "1.235 s"),
        ("tile", "512 LR px"),
        ("code", "0.1.0+12"),
        ("peak memory", "3 MiB"),
        ("files config.yml", "efefefefefef"),
        ("half", "no"),
        ("command", "a b"),
    )
