import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pass } from 'node:timers/promises'

import { endChild, startChild } from './child.ts'
import { freePort } from './free-port.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** An nginx of a test's own. */
export interface Nginx {
  readonly port: number
  stop(): Promise<void>
}

/**
 * Starts a real nginx on 127.0.0.1 that caches whatever the server behind it does not forbid to be cached, by the URL alone.
 * The header X-Cache of its answers says whether they come from there. It ends with the test process at the latest.
 * @param upstream the port of the server behind it
 */
export async function startCachingNginx(upstream: number): Promise<Nginx> {
  const folder = await temporaryFolder()
  const port = await freePort()
  const config = join(folder.path, 'nginx.conf')
  await mkdir(join(folder.path, 'temporary'))
  await writeFile(config, configOf(port, upstream, folder.path))
  const child = startChild('nginx', ['-e', 'stderr', '-c', config, '-p', folder.path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const stop = async (): Promise<void> => {
    await endChild(child)
    folder.remove()
  }
  try {
    await Promise.race([answering(port), died(child)])
  } catch (error) {
    await stop()
    throw error
  }
  return { port, stop }
}

function configOf(port: number, upstream: number, folder: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
daemon off;
# One process, so that one signal ends it all.
master_process off;
pid ${folder}/nginx.pid;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${folder}/temporary;`).join('\n  ')}
  proxy_cache_path ${folder}/cache keys_zone=shared:1m;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${upstream};
      proxy_cache shared;
      proxy_cache_key $request_uri;
      proxy_cache_valid 200 1h;
      add_header X-Cache $upstream_cache_status always;
    }
  }
}`
}

/** nginx says nothing when it is ready: resolves when it takes connections. */
async function answering(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return
    } catch {
      await pass(10)
    } finally {
      socket.destroy()
    }
  }
}

async function died(child: ChildProcess): Promise<never> {
  let said = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (said += text))
  // Without it, spawn itself fails, or setpriv does.
  const [code] = (await Promise.race([once(child, 'close'), once(child, 'error')])) as [unknown]
  throw new Error(`nginx ended at once. Is it installed (apt-get install nginx-light)?\n${said}`, {
    cause: code,
  })
}
