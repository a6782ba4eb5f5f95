import type { CreateUserRequest } from './api'

// What a person can paste into sh, bash or zsh, whatever was typed into the form.

/** One word of a command line: nothing has a meaning between single quotes but the single quote. */
const quoted = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`

/** Double quotes, so that the shell puts the token in. */
const token = (isLoginNeeded: boolean) => (isLoginNeeded ? [`-H "Authorization: Bearer $TOKEN"`] : [])

export const startByCurl = (body: CreateUserRequest, isLoginNeeded: boolean): string =>
  [
    `curl -s ${quoted(`${location.origin}/saga`)}`,
    ...token(isLoginNeeded),
    `-H 'content-type: application/json'`,
    `-d ${quoted(JSON.stringify(body))}`,
  ].join(' \\\n  ')

export const startByTemporal = (body: CreateUserRequest): string =>
  [
    'npm run temporal -- workflow start --type createUserSaga --task-queue saga',
    `--input ${quoted(JSON.stringify(body))}`,
  ].join(' \\\n  ')

export const getByCurl = (path: string, isLoginNeeded: boolean): string =>
  ['curl -s', ...token(isLoginNeeded), quoted(`${location.origin}${path}`)].join(' ')

export const bulkByCurl = (isLoginNeeded: boolean): string =>
  [
    `curl -s ${quoted(`${location.origin}/saga/bulk`)}`,
    ...token(isLoginNeeded),
    `-H 'content-type: application/x-ndjson'`,
    '--data-binary @users.ndjson',
  ].join(' \\\n  ')

export const bulkByCommand = (isLoginNeeded: boolean): string =>
  `${isLoginNeeded ? 'API_TOKEN="$TOKEN" ' : ''}npm run bulk -- users.ndjson --url ${quoted(location.origin)}`
