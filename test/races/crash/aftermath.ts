import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'

import type { RedisClientType } from 'redis'

import type { SessionData } from '../../../src/stores/session-data.ts'
import type { SessionStore } from '../../../src/stores/store.ts'
import { isMark } from '../../../src/stores/store.ts'
import type { Task } from './operations.ts'
import { PENDING } from './operations.ts'

/** A record that lives, and for how much longer, in seconds. */
export interface Survivor {
  readonly record: SessionData
  readonly left: number
}

/** Every record that lives in the store of a task. */
export async function survivors(
  task: Task,
  store: SessionStore,
  redis: RedisClientType | null,
): Promise<Survivor[]> {
  const ids = redis === null ? idsInFile(task.where) : await idsInRedis(task.prefix, redis)
  const found = await Promise.all(
    [...ids].map(async ([id, left]) => ({ record: await store.load(id), left })),
  )
  return found.flatMap(({ record, left }) => (record === null || isMark(record) ? [] : [{ record, left }]))
}

/** What a session has come to, by what is left of it. */
export function stateOf(left: readonly Survivor[], oldId: string): string {
  const old = left.find(({ record }) => record.id === oldId)
  const full = left.filter((survivor) => survivor !== old && !isPending(survivor))
  const pending = left.filter((survivor) => survivor !== old && isPending(survivor))
  if (old !== undefined) return full.length === 0 ? `old: ${describe(old)}` : 'both'
  if (full.length > 0) return full.length === 1 ? `new: ${describe(full[0]!)}` : 'both'
  if (pending.length > 0) return pending.length === 1 ? `pending: ${describe(pending[0]!)}` : 'both'
  return 'nothing'
}

/** Whether a record goes soon, by itself. */
export function isPending({ left }: Survivor): boolean {
  return left <= PENDING
}

/** Waits until Redis has done all that a dead process had sent it. */
export async function bury(task: Task, redis: RedisClientType): Promise<void> {
  while ((await redis.sendCommand<string>(['CLIENT', 'LIST'])).includes(`name=${task.prefix} `))
    await pause(1)
}

function describe({ record: { userId, data } }: Survivor): string {
  return `${userId ?? 'nobody'} {${Object.keys(data).sort().join(', ')}}`
}

function idsInFile(path: string): Map<string, number> {
  const database = new DatabaseSync(path)
  const rows = database.prepare('SELECT id, ends_at FROM holdfast_sessions').all()
  database.close()
  return new Map(rows.map(({ id, ends_at: endsAt }) => [id as string, (Number(endsAt) - Date.now()) / 1000]))
}

async function idsInRedis(prefix: string, redis: RedisClientType): Promise<Map<string, number>> {
  // Hints to a user's sessions stand beside them.
  const keys = (await redis.keys(`${prefix}*`)).filter((key) => !key.startsWith(`${prefix}user:`))
  const lives = await Promise.all(keys.map((key) => redis.pTTL(key)))
  return new Map(keys.map((key, i) => [key.slice(prefix.length), lives[i]! / 1000]))
}
