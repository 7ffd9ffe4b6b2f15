import jwt

token = jwt.encode({"sub": "42"}, "secret").decode()

print(token)
