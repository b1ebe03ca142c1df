"""The linkage method in the order it runs: standardise, validate, compare, decide.

Pure code: no Airflow, no database, no clock. Tables in, tables out.
"""
