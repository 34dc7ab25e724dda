import { createClient } from 'redis'

import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import type { RedisServer } from './redis-server.ts'
import { startRedis } from './redis-server.ts'
import type { TemporaryFolder } from './temporary-folder.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** One server of a {@link RedisCluster}. */
export interface ClusterNode {
  readonly port: number
  /** `redis://127.0.0.1:<port>` */
  readonly url: string
  /** What the cluster calls it. */
  readonly id: string
  /** Sends one command, and resolves to its whole reply. */
  ask(...words: readonly (string | number)[]): Promise<unknown>
  /** Ends it by SIGKILL. */
  kill(): Promise<void>
  /** Starts it again, as who it was, where it was killed. */
  start(): Promise<void>
}

/** A Redis Cluster of a test's own; the slots are dealt out evenly, in the order of the masters. */
export interface RedisCluster {
  /** All of them. */
  readonly nodes: readonly ClusterNode[]
  /** As it began. */
  readonly masters: readonly ClusterNode[]
  readonly replicas: readonly ClusterNode[]
  /**
   * Begins to move slots from one master to another. What is there of them goes on being served by the one, what is not by the other: clients
   * are told to ASK there.
   */
  beginMove(from: ClusterNode, to: ClusterNode, slots: readonly number[]): Promise<SlotMove>
  /** Resolves when all nodes, or these, agree that every slot is served, and every replica follows its master. */
  settled(nodes?: readonly ClusterNode[]): Promise<void>
  stop(): Promise<void>
}

/** Slots on their way to another master. */
export interface SlotMove {
  /** Moves what stands in the slots. Both masters serve nobody meanwhile: two that move to one another at the same time wait for ever. */
  carry(): Promise<void>
  /** Gives the slots to the other master, in everybody's eyes: from here on clients are told that they have MOVED. */
  finish(): Promise<void>
}

/** How {@link startRedisCluster} starts a cluster. */
export interface RedisClusterOptions {
  masters: number
  /** For each replica, which master it is of. Default: there are none. */
  replicas?: readonly number[]
  /** More of the servers' own options. */
  args?: readonly string[]
}

/** Starts a real Redis Cluster on 127.0.0.1, and waits until it serves all slots. */
export async function startRedisCluster(options: RedisClusterOptions): Promise<RedisCluster> {
  const { masters: count, replicas: of = [], args = [] } = options
  await using ends = new AsyncDisposableStack()
  const folder = ends.adopt(await temporaryFolder(), (folder) => folder.remove())
  const started = await Promise.allSettled(
    Array.from({ length: count + of.length }, () => startNode(folder, args)),
  )
  const nodes: Node[] = []
  for (const node of started)
    if (node.status === 'fulfilled') nodes.push(ends.adopt(node.value, (one) => one.kill()))
  for (const node of started) if (node.status === 'rejected') throw node.reason
  const masters = nodes.slice(0, count)
  const replicas = nodes.slice(count)

  const settled = async (some: readonly ClusterNode[] = nodes): Promise<void> => {
    await eventually(() => Promise.all(some.map((node) => expectSettled(node, nodes.length))), PATIENCE)
  }
  const bounds = Array.from({ length: count + 1 }, (_, n) => Math.round((SLOTS * n) / count))
  await Promise.all(
    masters.map(async (node, n) => {
      // Where two masters have the same, neither would be elected before they have sorted it out.
      await node.ask('CLUSTER', 'SET-CONFIG-EPOCH', n + 1)
      await node.ask('CLUSTER', 'ADDSLOTSRANGE', bounds[n]!, bounds[n + 1]! - 1)
    }),
  )
  for (const [n, node] of nodes.entries())
    for (const other of nodes.slice(n + 1))
      await node.ask('CLUSTER', 'MEET', '127.0.0.1', other.port, other.busPort)
  await eventually(
    () => Promise.all(replicas.map((replica, n) => replica.ask('CLUSTER', 'REPLICATE', masters[of[n]!]!.id))),
    PATIENCE,
  )
  await settled()
  // What they said to one another on the way does not count as errors of theirs.
  await Promise.all(nodes.map((node) => node.ask('CONFIG', 'RESETSTAT')))
  const beginMove: RedisCluster['beginMove'] = async (from, to, slots) => {
    const each = (node: ClusterNode, ...state: string[]): Promise<unknown> =>
      Promise.all(slots.map((slot) => node.ask('CLUSTER', 'SETSLOT', slot, ...state)))
    await each(to, 'IMPORTING', from.id)
    await each(from, 'MIGRATING', to.id)
    return {
      carry: async () => void (await Promise.all(slots.map((slot) => carry(from, to, slot)))),
      async finish() {
        // The new owner first: were it the last to know, the two would send clients to one another.
        await each(to, 'NODE', to.id)
        await each(from, 'NODE', to.id)
        for (const node of masters) if (node !== from && node !== to) await each(node, 'NODE', to.id)
      },
    }
  }
  const owned = ends.move()
  return { nodes, masters, replicas, beginMove, settled, stop: () => owned.disposeAsync() }
}

const SLOTS = 16384
/** Milliseconds. */
const PATIENCE = 30_000

interface Node extends ClusterNode {
  /** Where nodes speak with one another. */
  readonly busPort: number
}

async function startNode(folder: TemporaryFolder, args: readonly string[]): Promise<Node> {
  // By itself it would take that of the clients and 10,000, which may be taken, or be none.
  const [port, busPort] = await Promise.all([freePort(), freePort()])
  const run = async (): Promise<Running> => {
    const server = await startRedis({
      port,
      args: [
        ...['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'],
        ...['--cluster-port', String(busPort), '--cluster-config-file', `${folder.path}/${port}.conf`],
        ...['--repl-diskless-sync-delay', '0', ...args],
      ],
    })
    const client = createClient({ url: server.url, socket: { reconnectStrategy: false } })
    client.on('error', () => {})
    return { server, client: await client.connect() }
  }
  let running = await run()
  const ask: ClusterNode['ask'] = (...words) => running.client.sendCommand(words.map(String))
  return {
    port,
    busPort,
    url: running.server.url,
    id: String(await ask('CLUSTER', 'MYID')),
    ask,
    async kill() {
      await running.server.stop()
      if (running.client.isOpen) running.client.destroy()
    },
    async start() {
      if (!running.client.isOpen) running = await run()
    },
  }
}

interface Running {
  readonly server: RedisServer
  readonly client: {
    sendCommand(words: string[]): Promise<unknown>
    destroy(): void
    readonly isOpen: boolean
  }
}

async function carry(from: ClusterNode, to: ClusterNode, slot: number): Promise<void> {
  const keys = (await from.ask('CLUSTER', 'GETKEYSINSLOT', slot, 1000)) as string[]
  if (keys.length > 0) await from.ask('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys)
}

/**
 * The errors that some nodes have answered with so far, each by its first word, as in `MOVED`, and how often.
 * Under `scripts`, how many scripts have begun, and failed, or were not known.
 */
export async function errorsOf(nodes: readonly ClusterNode[]): Promise<Record<string, number>> {
  const sum: Record<string, number> = { scripts: 0 }
  for (const node of nodes) {
    const stats =
      String(await node.ask('INFO', 'errorstats')) + String(await node.ask('INFO', 'commandstats'))
    for (const [, error, failed, count] of stats.matchAll(STATS)) {
      const name = failed === undefined ? error! : 'scripts'
      sum[name] = (sum[name] ?? 0) + Number(count)
    }
  }
  return sum
}

const STATS = /^(?:errorstat_([^:]+):count=|cmdstat_(eval|evalsha):.*failed_calls=)(\d+)/gm

/** Throws where a node does not see the whole cluster at work yet. */
async function expectSettled(node: ClusterNode, size: number): Promise<void> {
  const info = String(await node.ask('CLUSTER', 'INFO'))
  const replication = String(await node.ask('INFO', 'replication'))
  const isSettled =
    info.includes('cluster_state:ok') &&
    info.includes(`cluster_slots_ok:${SLOTS}`) &&
    info.includes(`cluster_known_nodes:${size}`) &&
    !/master_link_status:down/.test(replication)
  if (!isSettled) throw new Error(`The cluster does not settle:\n${info}\n${replication}`)
}
