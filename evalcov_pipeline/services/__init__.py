"""The use cases: each reads, computes with `core`, writes in one transaction, says what happened.

Nothing here knows Dagster, the command line or a page: those announce what a service returned. A
package per domain, and each knows those below it only: health; refresh, report and suites;
sessions; imports and coverage; failures and judges; labels; evals and taxonomy; traffic; home.
"""
