# SPDX-License-Identifier: GPL-2.0-or-later
"""The builder of the Linux guest, where there is no network."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from lib import linux

BUILD = linux.GUEST / 'build'
NO_NETWORK = '#!/bin/sh\necho "E: no network" >&2\nexit 100\n'
# An index from before the mirror has dropped a version, until `update`
APT_CACHE = """#!/bin/sh
for package; do :; done
echo "Package: $package"
[ -e '{folder}/updated' ] && echo 'Version: {version}' || echo 'Version: 6.1.1-1'
echo 'Depends: {name}'
echo 'Size: 1'
echo 'SHA256: {digest}'
"""
APT_GET = """#!/bin/sh
for name; do :; done
if [ "$name" = update ]; then
    touch '{folder}/updated'
elif [ -e '{folder}/updated' ]; then
    cp '{kept}' .
else
    echo "E: Failed to fetch ${{name}}_6.1.1-1.deb  404  Not Found" >&2
    exit 100
fi
"""


class BuildsOffline(unittest.TestCase):
    """Each test has a cache of its own and an apt-get that always fails."""

    def setUp(self):
        unpacked = Path(linux.image()['kernel']).parent
        self.kept = unpacked.with_name(unpacked.name + '.deb')
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cache = self.folder / 'qemu-memory-debug' / 'guest'
        self.cache.mkdir(parents=True)
        self.programs = self.folder / 'bin'
        self.programs.mkdir()
        self.program('apt-get', NO_NETWORK)
        self.environment = {**os.environ, 'XDG_CACHE_HOME': str(self.folder),
                            'PATH': f'{self.programs}:{os.environ["PATH"]}'}

    def program(self, name, text):
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def build(self):
        """Run the builder: exit status and all that it says."""
        done = subprocess.run([BUILD], env=self.environment, check=False,
                              text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def test_uses_the_package_that_it_has(self):
        shutil.copy(self.kept, self.cache)
        left_over = self.cache / 'tmpabcdef'    # of an interrupted run
        left_over.mkdir()
        status, output = self.build()
        self.assertEqual(status, 0, output)
        self.assertFalse(left_over.exists())
        files = dict(line.split(' ', 1) for line in output.splitlines()
                     if line.startswith(('kernel ', 'initrd ')))
        self.assertEqual(Path(files['kernel']).read_bytes(),
                         Path(linux.image()['kernel']).read_bytes())
        self.assertEqual(Path(files['initrd']).read_bytes()[:6], b'070701')
        status, again = self.build()
        self.assertEqual(status, 0, again)
        self.assertNotIn('unpacking', again)
        self.assertNotIn('building', again)

    def test_without_a_package_it_says_what_to_do(self):
        status, output = self.build()
        self.assertEqual(status, 1, output)
        self.assertIn('E: no network', output)
        self.assertIn(f'put the .deb file of a linux-image-*-cloud-amd64 '
                      f'into {self.cache}', output)

    @unittest.skipIf(os.geteuid(), "only root updates apt's index")
    def test_version_that_the_mirror_has_dropped_is_not_needed(self):
        name, version = self.kept.stem.split('_')[:2]
        fill = {'folder': self.folder, 'kept': self.kept, 'name': name,
                'version': version, 'digest':
                hashlib.sha256(self.kept.read_bytes()).hexdigest()}
        self.program('apt-cache', APT_CACHE.format(**fill))
        self.program('apt-get', APT_GET.format(**fill))
        status, output = self.build()
        self.assertEqual(status, 0, output)
        self.assertIn('apt-get update', output)
        self.assertTrue((self.cache / f'{name}_{version}.deb').exists(), output)

    def test_damaged_package_is_not_used(self):
        damaged = bytearray(self.kept.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (self.cache / self.kept.name).write_bytes(damaged)
        status, output = self.build()
        self.assertEqual(status, 1, output)
        self.assertRegex(output, 'is damaged')
        self.assertEqual(list(self.cache.glob('*/vmlinux')), [])
