# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare guests for some time, or the machines of one seed.

--only sw-protected needs a kernel that has software-protected VMs and the series
of linux/; `make check-kernel` runs it on one.
"""

import argparse
import random
import sys

from .rounds import Round
from .soak import Soak
from .standin import StandInRound
from .swprotected import SwProtectedRound

ANYWHERE = {'simulated': Round, 'stand-in': StandInRound}
KINDS = {**ANYWHERE, 'sw-protected': SwProtectedRound}


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--collect', action='store_true',
                        help='go on after a difference')
    parser.add_argument('--only', choices=KINDS)
    args = parser.parse_args()
    seed = args.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f'seed {seed}', flush=True)
    kinds = [KINDS[args.only]] if args.only else list(ANYWHERE.values())
    soak = Soak(kinds, lambda text: print(text, flush=True), args.collect)
    if args.seconds:
        soak.run(seed, args.seconds)
    else:
        soak.seed(seed)
    print(soak.summary(seed))
    return 1 if soak.found else 0


if __name__ == '__main__':
    sys.exit(main())
