import jwt
def test_version():
    assert jwt.__version__.startswith("2.")
