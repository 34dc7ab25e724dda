import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** What the tests start for themselves, by the Debian package that brings it. */
const PACKAGES = {
  'redis-server': 'redis-server',
  chromium: 'chromium',
  nginx: 'nginx-light',
  faketime: 'faketime',
}

/** Installs the servers that are missing, as root on Debian; elsewhere names them and stops. */
export function installServers(): void {
  const packages = Object.entries(PACKAGES)
    .filter(([program]) => !isInstalled(program))
    .map(([, name]) => name)
  if (packages.length === 0) return
  if (process.getuid?.() !== 0 || !isInstalled('apt-get'))
    stop(`The tests need ${packages.join(' and ')}. Install with: sudo apt-get install ${packages.join(' ')}`)

  console.log(`Installing what the tests start: ${packages.join(', ')} …`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  for (const args of [['update'], ['install', '--yes', '--no-install-recommends', ...packages]]) {
    const { status, stderr } = spawnSync('apt-get', ['--quiet', '--quiet', ...args], {
      env,
      encoding: 'utf8',
    })
    if (status !== 0) stop(`apt-get ${args.join(' ')} failed:\n${stderr}`)
  }
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function stop(message: string): never {
  console.error(message)
  console.log('0 passed, 1 failed')
  process.exit(1)
}
