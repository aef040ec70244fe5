# SPDX-License-Identifier: GPL-2.0-or-later
"""A root file system that Linux unpacks at boot: busybox and what is added."""
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

# Large, and of no use to a test
NOT_OF_PYTHON = shutil.ignore_patterns(
    'test', 'idlelib', 'tkinter', 'lib2to3', 'ensurepip', 'turtledemo',
    'distutils', 'asyncio', 'pydoc_data', 'config-*', 'dist-packages',
    'site-packages')


def libraries(program):
    """The shared libraries that a program needs, its loader included."""
    listed = subprocess.run(['ldd', program], text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [Path(path) for path in re.findall(r'(?:=> |^\s*)(/\S+)',
                                              listed.stdout, re.M)]


class Initramfs:
    """A folder that becomes the root of an emulated machine."""

    def __init__(self, folder):
        self.root = Path(folder)
        shutil.rmtree(self.root, ignore_errors=True)
        for name in 'bin', 'dev', 'proc', 'sys', 'tmp':
            (self.root / name).mkdir(parents=True)
        busybox = shutil.which('busybox')
        self.add(busybox, 'bin/busybox')
        for name in subprocess.run([busybox, '--list'], text=True, check=True,
                                   stdout=subprocess.PIPE).stdout.split():
            if name != 'busybox':
                (self.root / 'bin' / name).symlink_to('busybox')

    def add(self, source, path):
        """Copy @source, with its mode and time, to @path below the root."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)      # it may be a link to busybox
        shutil.copy2(source, target)

    def add_program(self, program, path):
        """Copy a program and the libraries that it needs."""
        self.add(program, path)
        for library in libraries(program):
            self.add(library, library.relative_to('/'))

    def add_python(self):
        """The Python that runs this, with those of its modules that matter."""
        self.add_program(sys.executable, 'usr/bin/python3')
        library = sysconfig.get_path('stdlib')
        target = self.root / Path(library).relative_to('/')
        shutil.copytree(library, target, ignore=NOT_OF_PYTHON)
        for extension in target.rglob('*.so'):      # libffi of ctypes, ...
            for library in libraries(extension):
                self.add(library, library.relative_to('/'))

    def write_script(self, path, text):
        """An executable file; the kernel starts the one called init."""
        script = self.root / path
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
        script.chmod(0o755)

    def pack(self, archive):
        """Write the folder as a cpio archive: gzip would take longer."""
        names = '\n'.join(str(path.relative_to(self.root))
                          for path in sorted(self.root.rglob('*')))
        with open(archive, 'wb') as out:
            subprocess.run(['cpio', '-o', '-H', 'newc', '-R', '0:0',
                            '--quiet'], cwd=self.root, check=True,
                           input=names.encode(), stdout=out)
