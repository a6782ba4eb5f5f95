import { address, addressInput } from './address.js'
import { payment, paymentInput } from './payment.js'
import { user, userInput } from './user.js'

/** The services by their letters, as each can run by itself: `npm run service -- A`, on that port where PORT says no other. */
export const ownServices = {
  A: { participant: user, input: userInput, port: 5001 },
  B: { participant: address, input: addressInput, port: 5002 },
  C: { participant: payment, input: paymentInput, port: 5003 },
}

/** The letter of a service as somebody gave it. Throws, with those that there are, where it is none. */
export function letterFrom(text: string | undefined): keyof typeof ownServices {
  if (text !== undefined && Object.hasOwn(ownServices, text)) return text as keyof typeof ownServices
  throw new Error(`Which service? Name one of ${Object.keys(ownServices).join(', ')}, as in \`npm run service -- A\`.`)
}

/** The URLs of services that run elsewhere, by the names of their participants. */
export function byParticipant(urls: Partial<Record<keyof typeof ownServices, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(urls).map(([letter, url]) => [ownServices[letterFrom(letter)].participant.name, url]),
  )
}
