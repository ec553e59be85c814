#!/bin/sh
# Starts the command line with the Node.js that this package brings.
if [ -z "${CACHE_DIRECTORY:-}" ]; then
  # Compiled modules are kept for the service only: nobody else writes below /usr/lib.
  NODE_DISABLE_COMPILE_CACHE=1
  export NODE_DISABLE_COMPILE_CACHE
fi
# As the service sees it, so that the same configuration can be read; the files are its own.
: "${CREDENTIALS_DIRECTORY:=/run/credentials/blocktorrent-agent.service}"
export CREDENTIALS_DIRECTORY
# The flags and the arena that blocktorrent.js would otherwise start Node.js a second time for.
: "${MALLOC_ARENA_MAX:=1}"
export MALLOC_ARENA_MAX
exec /usr/lib/blocktorrent/bin/node --max-semi-space-size=4 --expose-gc \
  --disable-warning=ExperimentalWarning /usr/lib/blocktorrent/agent/bin/blocktorrent.js "$@"
