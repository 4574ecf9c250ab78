import type { ReactNode } from "react";

export const metadata = { title: "Scan a card" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
