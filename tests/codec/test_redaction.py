"""What leaves us as text: no secrets, readable length, printable."""

import pickle

import pytest

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.redaction import for_message, redact
from tec_numcodecs.weights.local_store import WeightsId
from tec_xarray.encoding.provenance import source_of
from tec_xarray.store.location import StoreLocation, label_of

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"https://ann:{SECRET}@example.com/a.tif",
        f"https://{SECRET}@example.com/a.tif",
        f"s3://key:with/{SECRET}/and@sign@bucket/cube.zarr",
        f"simplecache::https://u:{SECRET}@h/x",
        f"zip://a.zip::https://u:{SECRET}@h/x",
        f"/vsicurl/https://u:{SECRET}@h/x.tif",
        f"/vsicurl?url=https%3A%2F%2Fu%3A{SECRET}%40h",
        f"https://h/x?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}",
        f"https://h/x?limit=10&SIG={SECRET}&se=2030",
        f"https://h/x?unheard-of={SECRET}",
        f"https://h/x#access_token={SECRET}",
        f"Authorization: Bearer {SECRET}{SECRET}",
        f"401 for hf_{SECRET}{SECRET}{SECRET}",
        f"AccountName=a;AccountKey={SECRET}==;",
        f"{{'key': 'a', 'secret': '{SECRET}', 'anon': False}}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
    ],
)
def test_secrets_are_hidden_in_text_errors_values_and_labels(text: str) -> None:
    for shown_text in (
        redact(text),
        str(InvalidInput(f"store {text}", allowed=text, fix=text)),
        shown(text),
        label_of(text),
    ):
        assert SECRET not in shown_text
        assert "***" in shown_text


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com:8080/path@v1/a.tif?limit=10&bbox=1,2,3,4",
        "s3://bucket/group/cube.zarr",
        "file:///data/a@b/c.zarr",
        "/data/a?b=c/cube.zarr",
        "quality=20 (1 to 16 tokens); pass token=None",
        "the signature of compress; did you mean 'secret'?",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_password_is_hidden_where_a_value_is_cut_inside_of_it() -> None:
    text = shown(f"https://ann:{SECRET * 50}@example.com/a")
    assert SECRET not in text
    assert len(text) <= 80


def test_messages_are_short_and_printable_whatever_a_name_holds() -> None:
    for name in ("x" * 1_000_000, "\x1b[31m" * 200_000, "://a:" * 200_000, "https://u:p@" * 90_000):
        error = InvalidInput(f"no {name}", allowed=name, fix=name)
        assert len(str(error)) < 3500
        assert str(error).isprintable()
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_short_message_is_not_changed() -> None:
    assert for_message("lam=-1\nallowed: a number > 0") == "lam=-1\nallowed: a number > 0"


def test_the_label_of_an_archive_holds_no_secrets() -> None:
    assert SECRET not in StoreLocation(f"https://u:{SECRET}@h/c.zarr?sig={SECRET}", "g").label


def test_the_source_of_weights_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"https://u:{SECRET}@mirror.example")
    text = source_of(WeightsId("terracodec-1.0-fp-s2l2a-lambda-10", "0" * 64))
    assert "mirror.example" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "piece", ["http://h/" + 30 * "?", "http://h?name", "a::", "://x:", "http x:y@", "token= ", "b"]
)
def test_long_text_takes_no_longer_for_a_letter_than_short_text(piece: str) -> None:
    """Where a pattern is tried from every place to the end, this takes many minutes."""
    text = f"token={piece * (150_000 // len(piece))}"
    assert len(redact(text)) > 0


@pytest.mark.parametrize("text", ["http://h/a?b?sig=s3cret", "https://h/x??token=s3cret"])
def test_a_second_question_mark_hides_no_parameter(text: str) -> None:
    assert "s3cret" not in redact(text)
