import { Context, hasNotices, type Sessions, type SessionStore } from 'holdfast'
import { eventStream } from 'holdfast/sse'

import type { App } from './app.ts'
import type { AppSession } from './session.ts'

/**
 * Tells a page of what happens while it is open: `changed`, when another tab has written to its session, or one of the user's other devices
 * has been used or signed out; and `session-ended`, which the stream says by itself.
 */
export function addLive(app: App, sessions: Sessions<AppSession>, store: SessionStore): void {
  app.get('/live', async (c) => {
    const { session } = c.var
    const { id, userId } = session
    // Nothing to follow: with this answer, a browser asks no more.
    if (session.isNew || session.isEnded) return c.body(null, 204)
    const devices = userId === null ? [] : await sessions.forUser(userId).list()
    const others = devices.filter((device) => device.id !== id)
    const context = Context.current<AppSession>()!
    return eventStream(context, (send) => {
      const tell = (): void => void send({ event: 'changed', data: '' })
      context.onChange(tell)
      const watches = hasNotices(store) ? others.map((other) => store.watch(other.id, tell)) : []
      return () => {
        for (const watch of watches) void watch.then((unwatch) => unwatch())
      }
    })
  })
}
