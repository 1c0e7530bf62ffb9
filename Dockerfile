# TCSQL as an image: one process, not root, its store in the volume /data.
#   docker build -t tcsql . && docker run --network host -v tcsql-data:/data tcsql
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY tcsql ./tcsql
RUN pip install --no-cache-dir . && rm -rf /src/*

RUN useradd --system --uid 10001 --home-dir /data tcsql && install -d -o tcsql -g tcsql -m 700 /data
USER tcsql
WORKDIR /data
VOLUME /data
EXPOSE 3888
ENV PYTHONUNBUFFERED=1 TCSQL_DATA=/data TCSQL_PORT=3888

# Alive is who answers: with 200, or with 421 where 127.0.0.1 is not among its hosts. The certificate is for another name
# than the address, so it is not checked here. Settings of the listener are read from the environment, as given above.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, ssl, sys, http.client as h; e = os.environ.get; a = e('TCSQL_HOST', '127.0.0.1'); a = {'0.0.0.0': '127.0.0.1', '::': '::1'}.get(a, a); p = int(e('TCSQL_PORT')); c = h.HTTPSConnection(a, p, timeout=2, context=ssl._create_unverified_context()) if e('TCSQL_TLS_CERTIFICATE') else h.HTTPConnection(a, p, timeout=2); c.request('GET', '/health'); sys.exit(c.getresponse().status not in (200, 421))"]

# In exec form the server is process 1 and gets SIGTERM itself; it drains and exits with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tcsql"]
CMD ["serve"]
