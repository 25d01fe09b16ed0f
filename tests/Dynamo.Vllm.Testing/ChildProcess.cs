using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Testing;

/// <summary>A process under test or a peer: its lines are kept, waited for, and shown when something fails.</summary>
public sealed class ChildProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly List<string> _lines = [];
    private readonly List<(Func<string, bool> Match, TaskCompletionSource<string> Found)> _waits = [];
    private readonly Lock _lock = new();

    /// <param name="name">For messages.</param>
    /// <param name="file">Program.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="environment">Beside that of this process.</param>
    /// <param name="isRead">False: nobody reads what it writes until <see cref="Read"/>.</param>
    public ChildProcess(
        string name,
        string file,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string> environment,
        bool isRead = true
    )
    {
        Name = name;
        var start = new ProcessStartInfo(file, arguments)
        {
            UseShellExecute = false,
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        foreach (var (key, value) in environment)
        {
            start.Environment[key] = value;
        }

        _process = Process.Start(start)!;
        _process.OutputDataReceived += (_, line) => Add(line.Data);
        _process.ErrorDataReceived += (_, line) => Add(line.Data);
        if (isRead)
        {
            Read();
        }

        _ = FailWaitsAtExitAsync();
    }

    public string Name { get; }

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    /// <summary>The last lines, for messages of failed assertions.</summary>
    public string Tail
    {
        get
        {
            lock (_lock)
            {
                return $"--- {Name}\n" + string.Join('\n', _lines.TakeLast(60));
            }
        }
    }

    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (_lock)
            {
                return [.. _lines];
            }
        }
    }

    /// <summary>Begins to read what it writes.</summary>
    public void Read()
    {
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <summary>The first line, past or coming, that holds the text.</summary>
    public async Task<string> LineAsync(string text, TimeSpan limit)
    {
        var found = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            if (_lines.Find(line => line.Contains(text, StringComparison.Ordinal)) is { } known)
            {
                return known;
            }

            _waits.Add((line => line.Contains(text, StringComparison.Ordinal), found));
        }

        try
        {
            return await found.Task.WaitAsync(limit);
        }
        catch (Exception exception) when (exception is TimeoutException or InvalidOperationException)
        {
            throw new InvalidOperationException(
                $"{Name}: no line with '{text}' within {limit.TotalSeconds} s ({exception.Message})\n{Tail}"
            );
        }
    }

    public void Signal(string signal, int? process = null) =>
        Process.Start("kill", [$"-{signal}", "--", (process ?? Id).ToString(CultureInfo.InvariantCulture)]).WaitForExit();

    public async Task<int> ExitCodeAsync(TimeSpan limit)
    {
        try
        {
            await _process.WaitForExitAsync().WaitAsync(limit);
            return _process.ExitCode;
        }
        catch (TimeoutException)
        {
            throw new InvalidOperationException($"{Name} did not end within {limit.TotalSeconds} s\n{Tail}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }

    private void Add(string? line)
    {
        if (line is null)
        {
            return;
        }

        List<TaskCompletionSource<string>> found;
        lock (_lock)
        {
            _lines.Add(line);
            found = [.. _waits.Where(wait => wait.Match(line)).Select(wait => wait.Found)];
        }

        foreach (var wait in found)
        {
            wait.TrySetResult(line);
        }
    }

    private async Task FailWaitsAtExitAsync()
    {
        await _process.WaitForExitAsync();
        lock (_lock)
        {
            foreach (var (_, found) in _waits)
            {
                found.TrySetException(new InvalidOperationException("the process has ended"));
            }
        }
    }
}
