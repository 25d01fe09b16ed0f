using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>The status page: one document without scripts and without anything
/// from elsewhere; it asks for itself again every 5 s.</summary>
internal static class StatusPageText
{
    private const string Style = """
        :root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--text:#1c2330;--soft:#667085;--line:#e3e7ee;--blue:#2f6fed;--good:#12805c;
        --bad:#c2362b;--warn:#a56200}
        @media(prefers-color-scheme:dark){:root{--back:#12151b;--card:#1b2029;--text:#e7eaf0;--soft:#98a2b3;--line:#2c3340;--blue:#6c9dff;
        --good:#3fc796;--bad:#ff7a6e;--warn:#f0b252}}
        *{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--text);font:14px/1.45 system-ui,sans-serif}
        main{max-width:1080px;margin:0 auto;padding:24px}h1{font-size:20px;margin:0}h2{font-size:14px;margin:0 0 10px}
        header{display:flex;gap:12px;align-items:center;flex-wrap:wrap;margin-bottom:4px}header form{margin-left:auto}
        .state{color:var(--soft);margin:0 0 18px}.badge{border-radius:99px;padding:2px 10px;font-size:12px;font-weight:600;color:#fff}
        .good{background:var(--good)}.bad{background:var(--bad)}.warn{background:var(--warn)}
        section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin-bottom:16px;overflow-x:auto}
        dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:10px 20px;margin:0}dt{color:var(--soft);font-size:12px}
        dd{margin:0;overflow-wrap:anywhere}.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:18px}
        figure{margin:0}figcaption{display:flex;justify-content:space-between;font-size:12px;color:var(--soft);margin-bottom:4px}
        figcaption b{color:var(--text);font-size:14px}svg{width:100%;height:64px;display:block;border-bottom:1px solid var(--line)}
        polyline{fill:none;stroke:var(--blue);stroke-width:1.5;vector-effect:non-scaling-stroke}polygon{fill:var(--blue);opacity:.14}
        small{color:var(--soft)}table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:5px 8px;border-bottom:1px solid
        var(--line)}th{font-weight:500;color:var(--soft);font-size:12px}th:first-child,td:first-child{text-align:left}
        .problems td{text-align:left;vertical-align:top}.problems td:first-child{white-space:nowrap;color:var(--soft)}.Error,.Critical{color:
        var(--bad)}.Warning{color:var(--warn)}button{font:inherit;padding:6px 14px;border-radius:8px;border:1px solid var(--line);
        background:var(--card);color:var(--text);cursor:pointer}
        """;

    /// <summary>Nothing may be loaded or run but the one style that this file holds; the form goes to this server alone.</summary>
    public static readonly string Policy =
        $"default-src 'none'; style-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(Style)))}'; "
        + "form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

    /// <param name="status">What is shown.</param>
    /// <param name="mayDrain">There is a button to drain.</param>
    /// <param name="now">To tell how long ago things were.</param>
    public static string Render(StatusSnapshot status, bool mayDrain, DateTimeOffset now)
    {
        var page = new StringBuilder(16_384)
            .Append("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">")
            .Append("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>")
            .Append(Encode(status.Model ?? "dynamo-vllm"))
            .Append("</title><style>")
            .Append(Style)
            .Append("</style></head><body><main><header><h1>")
            .Append(Encode(status.Model ?? "dynamo-vllm"))
            .Append("</h1>");
        AppendBadge(page, status.Ready ? "good" : "bad", status.Ready ? "ready" : "not ready");
        if (!status.Live)
        {
            AppendBadge(page, "bad", "engine given up");
        }

        if (status.Draining)
        {
            AppendBadge(page, "warn", "draining");
        }
        else if (mayDrain && status.Ready)
        {
            page.Append("<form method=\"post\" action=\"/status/drain\"><button>Drain, then return</button></form>");
        }

        page.Append(CultureInfo.InvariantCulture, $"</header><p class=\"state\">{Encode(status.State)}</p>");
        AppendFacts(page, status);
        AppendCharts(page, status.Samples);
        AppendBooks(page, status.Endpoints);
        AppendProblems(page, status.Problems, now);
        return page.Append("</main></body></html>").ToString();
    }

    private static void AppendBadge(StringBuilder page, string kind, string text) =>
        page.Append(CultureInfo.InvariantCulture, $"<span class=\"badge {kind}\">{text}</span>");

    private static void AppendFacts(StringBuilder page, StatusSnapshot status)
    {
        page.Append("<section><dl>");
        Append("Role", status.Role);
        Append("Instance", status.Instance);
        Append("Requests are taken", status.Place);
        Append("Planes", $"discovery {status.Discovery}, requests {status.RequestPlane}, events {status.EventPlane}");
        Append("Engine", status.EngineProblem ?? $"works, {status.EngineDrive} drive");
        Append("Callers", status.Hindrance ?? $"{status.CallerConnections} connections");
        Append("Up for", Duration(TimeSpan.FromSeconds(status.UptimeSeconds)));
        page.Append("</dl></section>");

        void Append(string name, string? value) =>
            page.Append(CultureInfo.InvariantCulture, $"<div><dt>{name}</dt><dd>{Encode(value ?? "\u2013")}</dd></div>");
    }

    private static void AppendCharts(StringBuilder page, IReadOnlyList<StatusSample> samples)
    {
        page.Append("<section><h2>The last ten minutes</h2><div class=\"charts\">");
        Append("Output tokens", sample => sample.OutputTokens, value => $"{Number(value)}/s");
        Append("Prompt tokens", sample => sample.PromptTokens, value => $"{Number(value)}/s");
        Append("Requests", sample => sample.Requests, value => $"{Number(value)}/s");
        Append("Open streams", sample => sample.Open, Number);
        Append("KV cache in use", sample => sample.CacheUsage, value => $"{Number(value * 100)} %");
        Append("First token, 95th percentile", sample => sample.FirstToken, value => $"{Number(value * 1000)} ms");
        page.Append("</div></section>");

        void Append(string title, Func<StatusSample, double?> value, Func<double, string> text) =>
            Chart.AppendTo(page, title, [.. samples.Select(value)], text);
    }

    private static void AppendBooks(StringBuilder page, IReadOnlyList<StatusEndpointBooks> endpoints)
    {
        page.Append("<section><h2>Requests since the start</h2><table><tr><th>Endpoint</th><th>accepted</th><th>open</th><th>finished</th>")
            .Append("<th>failed</th><th>cancelled</th><th>handed back</th><th>unanswered</th></tr>");
        foreach (var books in endpoints)
        {
            page.Append(CultureInfo.InvariantCulture, $"<tr><td>{Encode(books.Name)}</td><td>{books.Accepted}</td><td>{books.Open}</td>")
                .Append(CultureInfo.InvariantCulture, $"<td>{books.Finished}</td><td>{books.Failed}</td><td>{books.Cancelled}</td>")
                .Append(CultureInfo.InvariantCulture, $"<td>{books.HandedBack}</td><td>{books.Unanswered}</td></tr>");
        }

        page.Append("</table></section>");
    }

    private static void AppendProblems(StringBuilder page, IReadOnlyList<RecentProblem> problems, DateTimeOffset now)
    {
        page.Append("<section><h2>Last warnings and errors</h2>");
        page.Append(problems.Count == 0 ? "<small>none</small>" : "<table class=\"problems\">");
        foreach (var problem in problems.Reverse())
        {
            page.Append(CultureInfo.InvariantCulture, $"<tr><td>{Duration(now - problem.Time)} ago</td>")
                .Append(CultureInfo.InvariantCulture, $"<td class=\"{problem.Level}\">{problem.Level} {problem.Event}</td>")
                .Append(CultureInfo.InvariantCulture, $"<td>{Encode(problem.Message)}</td></tr>");
        }

        page.Append(problems.Count == 0 ? "</section>" : "</table></section>");
    }

    private static string Encode(string text) => HtmlEncoder.Default.Encode(text);

    private static string Number(double value) => value.ToString(value >= 100 ? "#,0" : "0.#", CultureInfo.InvariantCulture);

    private static string Duration(TimeSpan time) =>
        time.TotalMinutes < 1 ? string.Create(CultureInfo.InvariantCulture, $"{Math.Max(0, time.TotalSeconds):0} s")
        : time.TotalHours < 1 ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalMinutes:0} min")
        : time.TotalDays < 2 ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalHours:0.#} h")
        : string.Create(CultureInfo.InvariantCulture, $"{time.TotalDays:0.#} days");
}
