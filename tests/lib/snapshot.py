# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of a whole machine, in an image of its own."""

from .wait import poll

SIZE = 64 << 20


def _job(qmp, command, **arguments):
    """Run a command that is a job to its end."""
    qmp.cmd(command, job_id='job', **arguments)
    poll(lambda: qmp.cmd('query-jobs')[0]['status'] == 'concluded',
         f'the end of {command}', 10)
    job, = qmp.cmd('query-jobs')
    qmp.cmd('job-dismiss', id='job')
    if 'error' in job:
        raise RuntimeError(f'{command}: {job["error"]}')


def make_image(qmp, path):
    """An empty image, in which snapshots can be saved."""
    _job(qmp, 'blockdev-create',
         options={'driver': 'file', 'filename': str(path), 'size': 0})
    qmp.cmd('blockdev-add', driver='file', node_name='file0',
            filename=str(path))
    _job(qmp, 'blockdev-create',
         options={'driver': 'qcow2', 'file': 'file0', 'size': SIZE})
    qmp.cmd('blockdev-del', node_name='file0')


def save(qmp, node):
    """Save the machine in the image that is the node @node."""
    _job(qmp, 'snapshot-save', tag='saved', vmstate=node, devices=[node])


def load(qmp, node):
    """Load what save() has saved."""
    _job(qmp, 'snapshot-load', tag='saved', vmstate=node, devices=[node])
