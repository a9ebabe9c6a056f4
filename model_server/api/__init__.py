"""The doors: WebSocket stream, HTTP, and who may enter."""
