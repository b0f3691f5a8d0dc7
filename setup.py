"""Packaging.  Settings of tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).resolve().parent


def read(name: str) -> str:
    """The text of a file beside this one; empty if there is none."""
    path = HERE / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def version() -> str:
    """The version, which only the package itself names."""
    found = re.search(r'^__version__ = "([^"]+)"', read("storehouse/__init__.py"), re.MULTILINE)
    if found is None:
        raise RuntimeError("storehouse/__init__.py has no __version__")
    return found[1]


setup(
    # "storehouse" on PyPI is another project; the package and the command are called so all the same.
    name="storehouse-server",
    version=version(),
    description="One Twisted process that takes in bytes, keeps them safely and gives them back fast",
    long_description=read("README.rst"),
    long_description_content_type="text/x-rst",
    author="The storehouse authors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Archiving",
    ],
    python_requires=">=3.11",
    # Written out, although it is the default, so that an editable install puts this directory on the path: only then
    # does Twisted find the plugin.
    package_dir={"": "."},
    # "twisted.plugins" has no __init__.py and must never have one: it is Twisted's, and we add a file to it.
    packages=[*find_packages(include=["storehouse", "storehouse.*"]), "twisted.plugins"],
    package_data={"storehouse": ["py.typed", "_native.pyi", "frontends/upload/static/*"]},
    install_requires=[
        "Twisted[tls] >=25.5",
        "treq >=26.7",
        "attrs >=26.1",
        "zope.interface >=8.1",
        "prometheus_client >=0.26",
        "click >=8.5",
        "crc32c >=2.9",
        "blake3 >=1.0.11",
        'backports.zstd >=1.6; python_version < "3.14"',
        # The checksums of S3, by AWS. There are wheels for Linux (glibc and musl), macOS and Windows; elsewhere it is built,
        # which takes a compiler of C and cmake.
        "awscrt >=0.38",
        # Structured fields, by one of their authors.
        "http-sf >=1.5",
        # Argon2id, and a cipher that lets go of the interpreter's lock.
        "cryptography >=49",
        "pyOpenSSL >=26.4",
    ],
    extras_require={
        "test": [
            # There are wheels for this platform only.
            'atheris >=3.0; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.15"',
            # The S3 client that most programs use, and the description of the protocol that ours is compared with.
            "boto3 >=1.44",
            "aws-request-signer >=1.2",
            # What signs requests to S3, and knows all of its operations.
            "botocore >=1.44",
            "coverage >=7.17",
            # Whether the pages can be read.
            "docutils >=0.22",
            "hypothesis >=6.170",
            "mypy >=2.4",
            "mypy-zope >=1.0.17",
            # For the plugin that tests of other programs use.
            "pytest >=9.1",
            "requests >=2.34",
            "requests-toolbelt >=1.0",
            "ruff >=0.17.5, <0.18",
            "selenium >=4.51",
            # With what a wheel is built in tests/integration/test_distribution.py, as pyproject.toml asks.
            "setuptools >=77",
            "swift >=2.38",
            "tuspy >=1.1",
        ],
    },
    entry_points={
        "console_scripts": ["storehouse = storehouse.cli:main"],
        "pytest11": ["storehouse = storehouse.testing.pytest"],
    },
    ext_modules=[
        Extension(
            "storehouse._native",
            sources=["native/module.c", "native/crc32c.c", "native/highwayhash.c"],
            depends=["native/crc32c.h", "native/highwayhash.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            # Without a compiler everything is installed but this, and works.
            optional=True,
        )
    ],
    # One wheel for all Pythons from 3.11 on.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    zip_safe=False,
)
