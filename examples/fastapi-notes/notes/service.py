"""What makes a service of it."""

from notes.api import api
from pys_multi import App

app = App("fastapi-notes", public=True)
app.asgi(api)
