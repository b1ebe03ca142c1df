# dedupe-people with Airflow, for all components: compose.yaml and deploy/values.yaml say how each is started.
# docker build --tag dedupe-people .
FROM python:3.12-slim-bookworm

# Airflow's Helm chart wants this user and this group.
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --create-home airflow \
 && install --directory --owner airflow --group 0 /opt/venv /opt/airflow/logs /opt/airflow/incoming

# Machine code of the search is made below and used as it is by any processor from 2013 on (x86-64-v3) or any ARM one
# (--build-arg CPU=generic); compiling takes minutes. Empty features: those of the named processor, not of this machine.
ARG CPU=x86-64-v3
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/airflow/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/airflow/plugins \
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin,reviewer:user \
    AIRFLOW__CORE__XCOM_BACKEND=common.arrow_xcom.ArrowXCom \
    DEDUPE_SOURCE_ROOTS=/opt/airflow/incoming \
    NUMBA_CACHE_DIR=/opt/airflow/compiled \
    NUMBA_CPU_NAME=${CPU} \
    NUMBA_CPU_FEATURES="" \
    PATH=/opt/venv/bin:${PATH} \
    PGCONNECT_TIMEOUT=5 \
    PYTHONPATH=/opt/airflow/dags \
    PYTHONUNBUFFERED=1

USER 50000
WORKDIR /opt/airflow
COPY --chown=airflow:0 requirements.txt constraints.txt deploy/requirements-hashed.txt ./
RUN python3 -m venv /opt/venv \
 && pip install --no-cache-dir --compile --disable-pip-version-check --no-deps --require-hashes \
    --requirement requirements-hashed.txt \
 && find /opt/venv -type d -name tests -prune -exec rm -r {} +

COPY --chown=airflow:0 deploy/compile_search.py ./
COPY --chown=airflow:0 dags dags
COPY --chown=airflow:0 plugins plugins
# For whom Kubernetes gives another user of this group as well.
RUN python3 -m compileall -q dags plugins && python3 compile_search.py && chmod -R g=u /opt/airflow

# Where the probes of Airflow's Helm chart look for it.
COPY deploy/entrypoint /entrypoint
EXPOSE 8080
ENTRYPOINT ["/entrypoint"]
CMD ["airflow", "version"]
