import { getIronSession } from 'iron-session'

import type { Pair } from '../frameworks.ts'
import { answer, onNode } from '../frameworks.ts'
import type { Place } from '../stores.ts'
import type { AppSession } from '../work.ts'
import { onObject, SECRET, TTL } from '../work.ts'

/** The data in the cookie, sealed. */
export async function ironSession(_place: Place, data: AppSession): Promise<Pair> {
  const options = { cookieName: 'session', password: SECRET, ttl: TTL, cookieOptions: { secure: false } }
  return onNode(async (req, res, work) => {
    const session = await getIronSession<AppSession>(req, res, options)
    const text = onObject(session, work, data)
    if (work !== 'read') await session.save()
    answer(res, text)
  })
}
