# SPDX-License-Identifier: Apache-2.0
"""`python -m radproof` is the command `radproof`."""

from radproof.cli import main

if __name__ == "__main__":
    main()
