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

# The certificate is for another name than 127.0.0.1, so it is not checked here.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; s = 's' if os.environ.get('TCSQL_TLS_CERTIFICATE') else ''; r.urlopen(f'http{s}://127.0.0.1:{os.environ[\"TCSQL_PORT\"]}/health', timeout=2, context=ssl._create_unverified_context() if s else None)"]

# In exec form the server is process 1 and gets SIGTERM itself; it drains and exits with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tcsql"]
CMD ["serve"]
