using System.Globalization;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>How far a run is: a bar that is drawn again and again on a terminal, a line every now and then elsewhere.</summary>
internal sealed class BenchProgress
{
    private const int BarWidth = 30;

    private readonly BenchRun _run;
    private readonly int _count;
    private readonly TextWriter _output;
    private readonly bool _redraws;
    private readonly TimeProvider _time;

    /// <param name="run">What is shown.</param>
    /// <param name="count">Requests of it.</param>
    /// <param name="output">Beside the one that takes the result.</param>
    /// <param name="redraws">It is a terminal.</param>
    /// <param name="time">Clock.</param>
    public BenchProgress(BenchRun run, int count, TextWriter output, bool redraws, TimeProvider time)
    {
        _run = run;
        _count = count;
        _output = output;
        _redraws = redraws;
        _time = time;
    }

    /// <summary>Until the token is cancelled.</summary>
    public async Task ShowAsync(CancellationToken cancellationToken)
    {
        var began = _time.GetTimestamp();
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(_redraws ? 0.25 : 10), _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                Draw(_time.GetElapsedTime(began));
            }
        }
        catch (OperationCanceledException)
        {
            if (_redraws)
            {
                Draw(_time.GetElapsedTime(began));
                _output.WriteLine();
            }
        }
    }

    /// <summary>The line at a moment.</summary>
    public static string Text(int succeeded, int failed, int open, int count, TimeSpan elapsed)
    {
        var done = succeeded + failed;
        var full = (int)((long)BarWidth * done / count);
        var bar = new string('#', full) + new string('-', BarWidth - full);
        var rate = elapsed > TimeSpan.Zero ? done / elapsed.TotalSeconds : 0;
        var left = done > 0 ? TimeSpan.FromSeconds(elapsed.TotalSeconds / done * (count - done)) : TimeSpan.Zero;
        return string.Create(
            CultureInfo.InvariantCulture,
            $"[{bar}] {done}/{count} {elapsed:hh\\:mm\\:ss}<{left:hh\\:mm\\:ss} {rate:F2} req/s, {open} open, {failed} failed"
        );
    }

    private void Draw(TimeSpan elapsed)
    {
        var text = Text(_run.Succeeded, _run.Failed, _run.Open, _count, elapsed);
        if (_redraws)
        {
            _output.Write($"\r{text}\x1b[K"); // and clears what an earlier line has left behind it
        }
        else
        {
            _output.WriteLine(text);
        }
    }
}
