import { createCookieSessionStorage, createSessionStorage } from 'react-router'
import type { SessionStorage } from 'react-router'

import type { Pair } from '../frameworks.ts'
import { onFetch, respond, workOf } from '../frameworks.ts'
import type { Place } from '../stores.ts'
import { keyValue } from '../stores.ts'
import type { AppSession } from '../work.ts'
import { onMap, SECRET, TTL } from '../work.ts'

/** The sessions of Remix and React Router. They are committed where something was changed, as their documentation has it. */
export async function reactRouter(place: Place, data: AppSession): Promise<Pair> {
  const { getSession, commitSession } = await storageIn(place)
  return onFetch(async (request) => {
    const work = workOf(request)
    const session = await getSession(request.headers.get('cookie'))
    const text = onMap(session, work, data)
    return work === 'read' ? respond(text) : respond(text, { 'Set-Cookie': await commitSession(session) })
  })
}

async function storageIn(place: Place): Promise<SessionStorage> {
  const cookie = { name: 'session', secrets: [SECRET], maxAge: TTL, httpOnly: true, path: '/' }
  if (place.store === 'cookie') return createCookieSessionStorage({ cookie })
  const texts = await keyValue(place)
  return createSessionStorage({
    cookie,
    async createData(data) {
      const id = crypto.randomUUID()
      await texts.set(id, JSON.stringify(data))
      return id
    },
    readData: async (id) => JSON.parse((await texts.get(id)) ?? 'null'),
    updateData: async (id, data) => void (await texts.set(id, JSON.stringify(data))),
    deleteData: async (id) => void (await texts.delete(id)),
  })
}
