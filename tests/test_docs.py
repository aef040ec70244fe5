# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's manual, with the chapters of the series, builds without a warning."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from lib.repository import BUILD, require

SPHINX = shutil.which('sphinx-build', path='/usr/bin') or \
    shutil.which('sphinx-build')


@unittest.skipUnless(SPHINX, 'there is no sphinx-build: apt-get install '
                     'python3-sphinx python3-sphinx-rtd-theme')
class Manual(unittest.TestCase):
    """The whole manual, as --enable-docs builds it."""

    def test_builds_without_warnings(self):
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run(
                [SPHINX, '-W', '--keep-going', '-q', '-Dkerneldoc_werror=1',
                 '-b', 'html', '-d', f'{folder}/doctrees',
                 BUILD / 'src' / 'docs', f'{folder}/html'],
                env={**os.environ, 'CONFDIR': '/etc/qemu'}, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual((result.returncode, result.stdout), (0, ''))
            for page, what in (
                    ('system/encrypted-guest-debug.html', 'find-root=vmcoreinfo'),
                    ('devel/encrypted-guest-debug.html', 'page_state'),
                    ('interop/qemu-qmp-ref.html', 'query-memory-debug'),
                    ('system/monitor.html', 'info memory-debug')):
                html = Path(folder, 'html', page).read_text()
                self.assertTrue(what in re.sub('<[^>]+>', '', html),
                                f'{page} does not tell about {what}')

    def test_other_pages_point_to_the_chapter(self):
        for page in ('system/gdb.rst', 'system/confidential-guest-support.rst',
                     'system/i386/amd-memory-encryption.rst',
                     'system/i386/tdx.rst'):
            with self.subTest(page):
                require(f'docs/{page}', page)
                text = (BUILD / 'src' / 'docs' / page).read_text()
                self.assertIn(':ref:`encrypted-guest-debug`', text)
