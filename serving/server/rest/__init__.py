"""TensorFlow Serving's REST API over the services of the embedded server.

:mod:`.api` maps a path to a request, :mod:`.requests` reads JSON into messages, :mod:`.responses` writes
messages as JSON, and :mod:`.json_text` reads and quotes JSON the way the server's parser does. The services
that answer are those of gRPC, so both ports give the same answers and errors.
"""
