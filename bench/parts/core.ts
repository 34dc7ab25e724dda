/** The core as an adapter calls it, without HTTP, and the floor likewise. */
import type { Clock, Sessions, SessionStore } from 'holdfast'
import { createSessions, MemorySessionStore } from 'holdfast'

import { floorId, inMemory, newFloorId, nextVersion } from '../floor.ts'
import { forged } from '../http/load.ts'
import type { AppSession, Work } from '../http/work.ts'
import { onMap, onObject, SECRET } from '../http/work.ts'
import type { Step } from '../report/cost.ts'

export interface CoreOptions {
  readonly sessions: number
  readonly data: AppSession
  readonly store?: SessionStore
  readonly clock?: Clock
}

/** Steps of a request: each opens a session, the next one in rotation, and commits it. */
export interface CoreSteps {
  readonly read: Step
  readonly unread: Step
  readonly write: Step
  readonly none: Step
  readonly bad: Step
}

export async function holdfastSteps(options: CoreOptions): Promise<CoreSteps> {
  const { data, clock } = options
  const store =
    options.store ??
    new MemorySessionStore({ maxSessions: options.sessions, maxTotalBytes: 2 ** 34, ...(clock && { clock }) })
  const sessions = createSessions<AppSession>({
    store,
    secrets: SECRET,
    cookie: { name: 'session', secure: false },
  })
  const cookies: string[] = []
  for (let i = 0; i < options.sessions; i++) {
    const session = await sessions.open(undefined)
    onMap(session, 'sign-in', data)
    const { headers } = await sessions.commit(session)
    cookies.push(headers[0]![1].split(';', 1)[0]!)
  }
  const next = rotation(cookies)
  const forgeries = rotation(cookies.slice(0, 1000).map(forged))
  const request = (cookie: string | undefined, work: Work | null): unknown => {
    const opened = sessions.openNow(cookie)
    const go = (session: typeof opened & object) => {
      if (work !== null) onMap(session as never, work, data)
      return sessions.commitNow(session as never, 200)
    }
    return opened instanceof Promise ? opened.then(go) : go(opened)
  }
  return {
    read: () => request(next(), 'read'),
    unread: () => request(next(), null),
    write: () => request(next(), 'write'),
    none: () => request(undefined, 'read'),
    bad: () => request(forgeries(), 'read'),
  }
}

export async function floorSteps({ sessions, data }: CoreOptions): Promise<CoreSteps> {
  const store = inMemory()
  const cookies: string[] = []
  for (let i = 0; i < sessions; i++) {
    const { cookie, id } = newFloorId()
    store.create(id, nextVersion(), JSON.stringify(data), () => {})
    cookies.push(cookie)
  }
  const next = rotation(cookies)
  const forgeries = rotation(cookies.slice(0, 1000).map(forged))
  const request = (cookie: string | undefined, work: Work | null): void => {
    const id = floorId(cookie)
    if (id === null) return
    store.read(id, (found) => {
      if (found === null || work === null) return
      const session = JSON.parse(found.json) as AppSession
      onObject(session, work, data)
      if (work === 'write') store.replace(id, found.version, nextVersion(), JSON.stringify(session), () => {})
    })
  }
  return {
    read: () => request(next(), 'read'),
    unread: () => request(next(), null),
    write: () => request(next(), 'write'),
    none: () => request(undefined, 'read'),
    bad: () => request(forgeries(), 'read'),
  }
}

/** Each in turn, by a stride that leaves the order of making. */
function rotation<V>(values: readonly V[]): () => V {
  let at = 0
  return () => values[(at = (at + 7919) % values.length)]!
}

export type { Sessions }
