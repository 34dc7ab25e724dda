/**
 * The demo: `npm start`. Port from PORT (3000), sessions in SQLite, or where REDIS_URL or SESSION_STORE=memory say; SQLITE_PATH
 * names another file, STORE_TIMEOUT the seconds that the store may take (1). It listens on this machine only, unless HOST says otherwise.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { getRequestListener } from '@hono/node-server'
import { createSessions, onEvent } from 'holdfast'

import { createApp } from './app.ts'
import type { AppSession } from './session.ts'
import { openStore } from './store.ts'

const { HOST = '127.0.0.1', PORT = '3000', STORE_TIMEOUT = '1' } = process.env

const { store, name } = await openStore(process.env).catch((error: NodeJS.ErrnoException) => {
  // An error that stands for several, one for each address that was tried, has no message of its own.
  console.error(`The store cannot be opened: ${error.message || error.code}`)
  process.exit(1)
})
const sessions = createSessions<AppSession>({
  store,
  storeTimeout: Number(STORE_TIMEOUT),
  noteDevice: 'user-agent',
})
const app = createApp(sessions, store, name)

// A store that fails is answered with 503; why it does is for the operator to read.
onEvent((event) => {
  if (event.kind === 'store-failure') console.error(`The store failed at ${event.operation}:`, event.error)
})

const server = createServer(getRequestListener(app.fetch))
server.on('error', (error: NodeJS.ErrnoException) => {
  console.error(
    error.code === 'EADDRINUSE' ? `Port ${PORT} is taken. Try: PORT=3001 npm start` : error.message,
  )
  process.exit(1)
})
server.listen(Number(PORT), HOST, () => {
  const { port } = server.address() as AddressInfo
  const host = HOST === '127.0.0.1' ? 'localhost' : HOST
  console.log(`Holdfast demo on http://${host}:${port} with sessions in ${name}. Ctrl-C stops it.`)
})

// Requests under way are finished, then the store is closed. A second signal ends the process at once.
process.once('SIGINT', stop).once('SIGTERM', stop)

function stop(): void {
  server.close(() => void sessions.close())
  // Connections that a browser opened ahead and has not used yet would hold up the end.
  setTimeout(() => server.closeAllConnections(), 2500).unref()
}
