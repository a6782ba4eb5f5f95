import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { ApiError } from './api'
import { LoginForm } from './components/login-form'
import { Title } from './layout'
import { router } from './router'
import { useLogin } from './use-login'

const queries = new QueryClient({
  defaultOptions: {
    // What was refused is not asked again; who does not answer is, as long as the page is open.
    queries: {
      retry: (_failures, error) => !(error instanceof ApiError),
      retryDelay: 2_000,
      staleTime: 1_000,
      // The server may well be on this machine, with no internet.
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
})

export function App() {
  const [login, setLogin] = useLogin()
  // Not before it is known, or the page would be there for a moment and then gone.
  if (!login) return null
  if (login.login && login.name === undefined) {
    return (
      <>
        <header className="top">
          <Title />
        </header>
        <main>
          <LoginForm onLogin={setLogin} />
        </main>
      </>
    )
  }
  return (
    <QueryClientProvider client={queries}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  )
}
