/** The page of all examples. `connect` is what it does to hear of changes; it calls `show(count)`, and `over()` when the session has ended. */
export const page = (count: number, connect: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A counter in every tab</title>
<p><output id="count">${count}</output>
<p><button id="add">Add one</button>
<form method="post" action="/sign-out"><button>Sign out, in every tab</button></form>
<script type="module">
  const show = (count) => (document.querySelector('#count').value = count)
  const over = () => location.reload()
  const button = document.querySelector('#add')
  ${connect}
</script>
`

/** A WebSocket that comes back when the network was lost, and asks for the page anew when the session has ended. */
export const overWebSocket = `
  const connect = (wait = 500) => {
    const socket = new WebSocket('/live')
    socket.onopen = () => (wait = 500)
    socket.onmessage = ({ data }) => show(data)
    // 4401: signed out, revoked or run out. The cookie that the browser has now leads elsewhere.
    socket.onclose = ({ code }) => (code === 4401 ? over() : setTimeout(connect, wait, Math.min(wait * 2, 30_000)))
    button.onclick = () => socket.send('add')
  }
  connect()`

/** Socket.IO's own client, which the server hands out. */
export const overSocketIo = `
  const { io } = await import('/socket.io/socket.io.esm.min.js')
  const socket = io()
  socket.on('count', show)
  socket.on('session-ended', over)
  button.onclick = () => socket.emit('add')`
