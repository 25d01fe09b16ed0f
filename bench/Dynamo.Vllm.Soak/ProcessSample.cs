using System.Globalization;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Soak;

/// <summary>A look at the worker's process, and at what its engine's processes hold.</summary>
/// <param name="Time">Since the start of the soak.</param>
/// <param name="Rss">Resident MiB of the worker.</param>
/// <param name="Heap">Managed MiB after the last collection.</param>
/// <param name="Children">Resident MiB of the processes below it.</param>
/// <param name="Descriptors">Open ones of the worker.</param>
/// <param name="Threads">Of the worker.</param>
/// <param name="Sent">Requests so far.</param>
/// <param name="Answered">Of these, ended.</param>
internal sealed record ProcessSample(
    TimeSpan Time,
    double Rss,
    double Heap,
    double Children,
    int Descriptors,
    int Threads,
    long Sent,
    long Answered
)
{
    public static string Header => "    time  RSS MiB  heap MiB  children MiB  descriptors  threads      sent  answered";

    public static async Task<ProcessSample> TakeAsync(WorkerProcess worker, TimeSpan time, SoakTally tally)
    {
        var heap = await worker.MetricAsync("dynamo_vllm_managed_heap_bytes");
        var process = worker.Process.Id;
        return new(
            time,
            Field(process, "VmRSS:") / 1024.0,
            heap / (1024 * 1024),
            ChildProcesses.Descendants(process).Sum(child => Field(child, "VmRSS:")) / 1024.0,
            Directory.EnumerateFileSystemEntries($"/proc/{process}/fd").Count(),
            (int)Field(process, "Threads:"),
            tally.Sent,
            tally.Answered
        );
    }

    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{Time:hh\\:mm\\:ss}  {Rss, 7:F1}  {Heap, 8:F1}  {Children, 12:F1}  {Descriptors, 11}  {Threads, 7}  {Sent, 8}  {Answered, 8}"
        );

    /// <summary>A number of the status file; 0 for a process that is gone.</summary>
    private static long Field(int process, string name)
    {
        try
        {
            var line = File.ReadLines($"/proc/{process}/status").FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal));
            var number = line?[name.Length..].Replace("kB", "", StringComparison.Ordinal).Trim();
            return number is null ? 0 : long.Parse(number, CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
