"""Tokens between PyJWT, in both its generations, and the command line: each reads what the other made."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jwt
import pytest

# The seed's documentation uses the word "secret" as its secret.
pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("POLYCAST_BIN", ROOT / "target/release/polycast")
PYJWT_1 = ROOT / "tests/.venv/pyjwt1"
SNIPPETS = ROOT / "tests/sdk/seed"


def polycast(*arguments, stdin=None):
    return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True, timeout=30, check=False)


def mint(snippet, major):
    """What a snippet of the seed prints. PyJWT 1 gives bytes, which the snippets decode; PyJWT 2 gives text."""
    program = (SNIPPETS / snippet).read_text()
    environment = dict(os.environ)
    if major == 1:
        environment["PYTHONPATH"] = str(PYJWT_1)
    else:
        program = program.replace(".decode()", "")
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("major", [1, 2])
@pytest.mark.parametrize(
    ("snippet", "told"), [("simplest.py", '"42"'), ("expiration.py", "300 s"), ("info.py", "Alexander Emelin")]
)
def test_snippets_are_accepted(snippet, told, major):
    answer = polycast("check-token", "--secret", "secret", mint(snippet, major))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.startswith("accepted")
    assert told in answer.stdout or told.replace("300", "299") in answer.stdout


def test_made_tokens_are_read_by_pyjwt():
    made = polycast("token", "--user", "42", "--secret", "secret", "--exp", "5m", "--info", '{"name": "Ada"}')
    claims = jwt.decode(made.stdout.strip(), "secret", algorithms=["HS256"])
    assert claims["sub"] == "42"
    assert claims["info"] == {"name": "Ada"}
    assert abs(claims["exp"] - time.time() - 300) < 10


@pytest.mark.parametrize(
    ("claims", "key", "algorithm", "told"),
    [
        ({"sub": "42"}, "another", "HS256", "bad_signature"),
        ({"sub": "42"}, "secret", "HS512", "alg_not_allowed"),
        ({"sub": "42", "exp": 1}, "secret", "HS256", "expired"),
        ({"sub": "42", "nbf": 4102444800}, "secret", "HS256", "not_yet_valid"),
        ({"sub": "42", "exp": "soon"}, "secret", "HS256", "bad_claim"),
    ],
)
def test_refusals_say_why(claims, key, algorithm, told):
    text = encode(claims, key, algorithm)
    answer = polycast("check-token", "--secret", "secret", "-", stdin=text)
    assert answer.returncode == 1
    assert answer.stdout.startswith(f"refused: {told}"), answer.stdout


def encode(claims, key, algorithm):
    """Like `jwt.encode`, which refuses claims of a wrong type itself."""
    return jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm=algorithm)
