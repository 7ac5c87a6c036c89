import os
import time


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] != "/slow":
        return [os.environ["ANSWER"].encode()]
    return slow()


def slow():
    yield b"begin "
    time.sleep(1)
    yield b"end"
