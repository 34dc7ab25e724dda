/**
 * `JSON.parse`, but with each key as it was written. V8 since 12.8, and so Node 24 to 26, takes a key with an escape for another one that it
 * has seen: once any object of the process has had the key `\`, the key of `{"\"":1}` may come out as `\` too
 * (nodejs/node#63785, chromium:521080746). Such a text may come from any visitor whose JSON is parsed.
 * @throws SyntaxError as `JSON.parse` does
 */
export function parseJson(text: string): unknown {
  const keys: string[] = []
  let prefix = ''
  let safe = ''
  let done = 0
  let end: number
  for (let at = text.indexOf('\\'); at !== -1; at = text.indexOf('\\', end)) {
    end = endOfString(text, at)
    COLON.lastIndex = end
    if (!COLON.test(text)) continue
    prefix ||= absentFrom(text)
    const start = text.lastIndexOf('"', at)
    safe += `${text.slice(done, start)}"${prefix}${keys.length}"`
    // By itself a string is read right.
    keys.push(JSON.parse(text.slice(start, end)) as string)
    done = end
  }
  const value: unknown = JSON.parse(safe + text.slice(done))
  if (keys.length === 0) return value

  const named = (inner: unknown): unknown => {
    if (typeof inner !== 'object' || inner === null) return inner
    if (Array.isArray(inner)) return inner.map(named)
    const nameOf = (key: string): string =>
      key.startsWith(prefix) ? keys[Number(key.slice(prefix.length))]! : key
    return Object.fromEntries(Object.entries(inner).map(([key, of]) => [nameOf(key), named(of)]))
  }
  return named(value)
}

/** Where a string in JSON text is over, after its closing quotation mark, from its first backslash on. */
function endOfString(text: string, backslash: number): number {
  let at = backslash
  while (at < text.length && text.charCodeAt(at) !== 0x22 /* " */)
    at += text.charCodeAt(at) === 0x5c /* \ */ ? 2 : 1
  return at + 1
}

/** What follows a string that is a key. */
const COLON = /[ \t\r\n]*:/y

/** Random: to look for one that is absent is to be no work that somebody's text could make long. */
function absentFrom(text: string): string {
  for (;;) {
    const absent = `\uE000${Math.random()}:`
    if (!text.includes(absent)) return absent
  }
}
