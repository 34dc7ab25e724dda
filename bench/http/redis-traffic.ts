/** What a request costs Redis: the commands sent, those run inside of scripts, and bytes both ways. */
import { createClient } from 'redis'

export interface Traffic {
  /** Commands that the client sent, a request. */
  readonly sent: Readonly<Record<string, number>>
  /** Commands that scripts ran for them. */
  readonly inScripts: Readonly<Record<string, number>>
  readonly bytesIn: number
  readonly bytesOut: number
}

/** @param work sends so many requests, one after the other or side by side */
export async function trafficOf(
  url: string,
  requests: number,
  work: (requests: number) => Promise<void>,
): Promise<Traffic> {
  const client = await createClient({ url }).connect()
  try {
    const own = difference(await bytes(), await bytes())
    const before = await bytes()
    await work(requests)
    const used = difference(before, await bytes())
    const { sent, inScripts } = await commandsOf(url, requests, work)
    return {
      sent,
      inScripts,
      bytesIn: (used.in - own.in) / requests,
      bytesOut: (used.out - own.out) / requests,
    }
  } finally {
    client.destroy()
  }

  async function bytes(): Promise<{ in: number; out: number }> {
    const info = await client.info('stats')
    const read = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)![1])
    return { in: read('total_net_input_bytes'), out: read('total_net_output_bytes') }
  }
}

function difference(before: { in: number; out: number }, after: { in: number; out: number }) {
  return { in: after.in - before.in, out: after.out - before.out }
}

/** Counted by MONITOR, because `INFO commandstats` does not tell a script's commands from a client's. */
async function commandsOf(url: string, requests: number, work: (requests: number) => Promise<void>) {
  const sent: Record<string, number> = {}
  const inScripts: Record<string, number> = {}
  const client = await createClient({ url }).connect()
  await client.monitor((line) => {
    const [, from, command] = /\[\d+ ([^\]]+)\] "([^"]+)"/.exec(line) ?? []
    if (command === undefined) return
    const counts = from === 'lua' ? inScripts : sent
    const name = command.toUpperCase()
    counts[name] = (counts[name] ?? 0) + 1 / requests
  })
  await work(requests)
  // What MONITOR has yet to say comes by another connection than the answers.
  await new Promise((resolve) => setTimeout(resolve, 100))
  client.destroy()
  return { sent, inScripts }
}
