"""`python -m evalcov_pipeline` is `evalcov`."""

from evalcov_pipeline.cli import main

main()
