"""Keys as operators write them."""

from pathlib import Path

import pytest

from evaluation.load.keys import KeysError, keys_by_tenant, read_keys


@pytest.mark.parametrize("text", ["a=k1,b=k2, a=k=3", "# comment\na=k1\nb = k2  # another\n\na=k=3\n"])
def test_a_list_and_a_file_say_the_same(text: str) -> None:
    """Commas or line ends separate the entries, and a key may contain an equals sign."""
    assert keys_by_tenant(text) == {"a": ("k1", "k=3"), "b": ("k2",)}


@pytest.mark.parametrize("text", ["a", "a=", "=k", "a=k,b"])
def test_what_is_no_entry_is_reported(text: str) -> None:
    """The error says which entry is wrong."""
    with pytest.raises(KeysError, match=r"entry \d of the keys is not NAME=KEY"):
        keys_by_tenant(text)


def test_a_key_alone_is_a_tenant_where_names_are_given() -> None:
    """The tenant is named by the number of its entry; half an entry is still refused."""
    assert keys_by_tenant("k1,a=k2,k3", "tenant") == {"tenant1": ("k1",), "a": ("k2",), "tenant3": ("k3",)}
    for text in ("a=", "=k"):
        with pytest.raises(KeysError, match="entry 1"):
            keys_by_tenant(text, "tenant")


def test_what_is_no_list_is_a_file(tmp_path: Path) -> None:
    """A text without an equals sign names a file, and that file must exist."""
    file = tmp_path / "keys"
    file.write_text("a=k\n")
    assert read_keys(str(file)) == "a=k\n"
    assert [read_keys(text) for text in ("", "a=k", "k1,k2")] == ["", "a=k", "k1,k2"]
    with pytest.raises(FileNotFoundError, match="absent"):
        read_keys(str(tmp_path / "absent"))
