# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian in a folder, whose programs see the guest's files and sockets."""

import os
import re
import subprocess
from pathlib import Path

from lib import dump
from lib.wait import patience

SECONDS = 15        # of an idle machine, for any tool
ENVIRONMENT = {'HOME': '/root', 'TERM': 'dumb', 'LC_ALL': 'C.UTF-8',
               'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'}


class Root:
    """The folder: `make check-clients` has mounted there what is needed."""

    def __init__(self, path):
        self.path = Path(path)
        found = re.search(r'^PRETTY_NAME="(.*)"',
                          (self.path / 'etc/os-release').read_text(), re.M)
        self.name = found.group(1)

    def command(self, *words):
        """The words that run a program in there."""
        return ['chroot', str(self.path), 'env', '-i',
                *(f'{name}={value}' for name, value in ENVIRONMENT.items()),
                *map(str, words)]

    def run(self, *words, **options):
        """Run it and return what it printed; dump.ToolError if it fails."""
        options.setdefault('stdin', subprocess.DEVNULL)
        done = subprocess.run(self.command(
            'timeout', '-k', '9', int(patience(SECONDS)), *words), check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        text = done.stdout.decode(errors='replace').replace('\r', '\n')
        if done.returncode == 124:
            raise dump.ToolError(f'{words[0]} hangs')
        if done.returncode:
            raise dump.ToolError(f'{text}\n{words[0]} ended with '
                                 f'{done.returncode}'.lstrip())
        return text

    def start(self, *words, log):
        """Start a program that goes on; @log is where it prints."""
        with open(log, 'wb') as output:
            return subprocess.Popen(self.command(*words),
                                    stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=subprocess.STDOUT)

    def version(self, package):
        """A package's upstream version."""
        text = self.run('dpkg-query', '-W', '-f', '${Version}', package)
        return re.sub(r'^\d+:|[-+~].*', '', text)

    def write(self, path, text, mode=0o644):
        """Make a file in there."""
        target = self.path / path.lstrip('/')
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        os.chmod(target, mode)
