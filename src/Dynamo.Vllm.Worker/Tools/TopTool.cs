using System.Globalization;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.StatusPage;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>What workers do, from their <c>/metrics</c>, again and again: a table that takes the place of the one before on a terminal,
/// and one below the other elsewhere.</summary>
/// <remarks>A worker that does not answer has a line that says so, and holds up no other.</remarks>
internal sealed class TopTool
{
    /// <summary>A page of 128 adapters and all of vLLM's families has less than 1 MB.</summary>
    public const int PageBytesMax = 32 << 20;

    private const int ProblemLengthMax = 60;

    /// <summary>A worker answers within milliseconds, whatever its engine does.</summary>
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(5);

    private readonly TopOptions _options;
    private readonly HttpClient _http;
    private readonly TextWriter _output;
    private readonly bool _redraws;
    private readonly TimeProvider _time;
    private readonly MetricsReading?[] _last;

    /// <param name="options">What to look at.</param>
    /// <param name="http">Asks; bounded by its owner in bytes.</param>
    /// <param name="output">Takes tables.</param>
    /// <param name="redraws">It is a terminal.</param>
    /// <param name="time">Clock.</param>
    public TopTool(TopOptions options, HttpClient http, TextWriter output, bool redraws, TimeProvider time)
    {
        _options = options;
        _http = http;
        _output = output;
        _redraws = redraws;
        _time = time;
        _last = new MetricsReading?[options.Pages.Count];
    }

    /// <returns>0, or 1 where no worker could be seen in the last table.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        TopRow[] rows = [];
        try
        {
            rows = await LookAsync(cancellationToken).ConfigureAwait(false); // for what it counts: rates need two looks
            for (var shown = 0; _options.Count == 0 || shown < _options.Count; shown++)
            {
                await Task.Delay(_options.Interval, _time, cancellationToken).ConfigureAwait(false);
                rows = await LookAsync(cancellationToken).ConfigureAwait(false);
                await ShowAsync(rows).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ctrl-C is how it ends.
        }

        return rows.Any(row => row.Sample is not null || row.Running is not null) ? 0 : 1;
    }

    private Task<TopRow[]> LookAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(_options.Pages.Select((page, number) => LookAsync(page, number, cancellationToken)));

    private async Task<TopRow> LookAsync(Uri page, int number, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(AnswerLimit);
        try
        {
            var text = await _http.GetStringAsync(page, limit.Token).ConfigureAwait(false);
            var reading = MetricsReading.Parse(text, _time.GetTimestamp());
            var sample = _last[number] is { } earlier ? reading.Since(earlier, _time.GetUtcNow(), _time) : null;
            _last[number] = reading;
            return new TopRow(page.Authority, reading.State ?? "-", reading.Sum("vllm:num_requests_running"), sample);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return Unseen(page, number, $"no answer within {AnswerLimit.TotalSeconds:0} s");
        }
        catch (HttpRequestException exception)
        {
            return Unseen(page, number, exception.StatusCode is { } code ? $"answered {(int)code}" : exception.Message);
        }
    }

    private TopRow Unseen(Uri page, int number, string problem)
    {
        _last[number] = null;
        return new TopRow(page.Authority, LogText.Shorten(problem.ReplaceLineEndings(" "), ProblemLengthMax), null, null);
    }

    private async Task ShowAsync(IReadOnlyList<TopRow> rows)
    {
        var time = _time.GetLocalNow().ToString("HH:mm:ss", CultureInfo.InvariantCulture);
        var begin = _redraws ? "\x1b[H\x1b[J" : ""; // to the corner, and clear
        await _output.WriteLineAsync($"{begin}{time}\n{TopTable.Text(rows)}{(_redraws ? "" : "\n")}").ConfigureAwait(false);
        await _output.FlushAsync(CancellationToken.None).ConfigureAwait(false);
    }
}
