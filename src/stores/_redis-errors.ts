/** Takes off what ioredis hangs on its errors: the command's arguments, session data among them (ASVS 16.2.5). */
export function withoutCommand<E>(error: E): E {
  if (error instanceof Error && 'command' in error) delete error.command
  return error
}

/** Whether Redis does not let this user do what was asked. */
export function isNoPermission(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOPERM')
}
