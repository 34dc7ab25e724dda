import type { Sessions } from 'holdfast'

import type { App } from './app.ts'
import { devicesPage } from './devices-page.ts'
import type { AppSession } from './session.ts'

/** The page on which users see where they are signed in, and end what they do not know. */
export function addDevices(app: App, sessions: Sessions<AppSession>): void {
  app.get('/devices', async (c) => {
    const { session } = c.var
    const { userId } = session
    const devices = userId === null ? [] : await sessions.forUser(userId).list()
    // A look of client.js takes no message from the page that it is for.
    const notice = c.req.query('live') === undefined ? session.get('notice') : undefined
    return c.html(devicesPage(session, devices, notice))
  })

  app.post('/devices/revoke', async (c) => {
    const { session } = c.var
    const { id = '' } = await c.req.parseBody<Record<string, string>>()
    // Of this user's sessions only: an id that somebody made up, or found, ends nothing.
    const isEnded = session.userId !== null && (await sessions.forUser(session.userId).revoke(id))
    if (session.userId !== null)
      session.flash('notice', isEnded ? 'That device is signed out.' : 'That device was signed out already.')
    return c.redirect('/devices', 303)
  })

  app.post('/devices/revoke-others', async (c) => {
    const { session } = c.var
    if (session.userId !== null) {
      const ended = await sessions.forUser(session.userId).revokeOthers(session)
      session.flash(
        'notice',
        ended === 1 ? 'One other device is signed out.' : `${ended} other devices are signed out.`,
      )
    }
    return c.redirect('/devices', 303)
  })
}
