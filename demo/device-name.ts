/** What people call a browser, by the User-Agent header that was noted when they signed in with it. */
export function deviceName(userAgent: string | null): string {
  const browser = BROWSERS.find(([, sign]) => sign.test(userAgent ?? ''))?.[0] ?? 'A browser'
  const system = SYSTEMS.find(([, sign]) => sign.test(userAgent ?? ''))?.[0]
  return system === undefined ? browser : `${browser} on ${system}`
}

/** Most browsers claim to be others as well: whoever is claimed to be comes last. */
const BROWSERS: readonly (readonly [name: string, sign: RegExp])[] = [
  ['Edge', /Edg/],
  ['Opera', /OPR/],
  ['Firefox', /Firefox|FxiOS/],
  ['Chrome', /Chrom|CriOS/],
  ['Safari', /Safari/],
]

const SYSTEMS: readonly (readonly [name: string, sign: RegExp])[] = [
  ['iPhone', /iPhone/],
  ['iPad', /iPad/],
  ['Android', /Android/],
  ['Windows', /Windows/],
  ['macOS', /Mac OS/],
  ['Linux', /Linux/],
]
