import cookieSession from 'cookie-session'

import type { Pair } from '../frameworks.ts'
import { onExpress } from '../frameworks.ts'
import type { Place } from '../stores.ts'
import type { AppSession } from '../work.ts'
import { onObject, SECRET, TTL } from '../work.ts'

export async function signedCookie(_place: Place, data: AppSession): Promise<Pair> {
  const middleware = cookieSession({ keys: [SECRET], maxAge: TTL * 1000 })
  return onExpress(middleware, (req, work) =>
    onObject((req as unknown as { session: AppSession }).session, work, data),
  )
}
