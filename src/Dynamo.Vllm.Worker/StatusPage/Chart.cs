using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>A small picture of one number over the last minutes, as SVG within a page.</summary>
internal static class Chart
{
    private const int Width = 260;
    private const int Height = 64;

    /// <param name="page">Gets it.</param>
    /// <param name="title">What is shown.</param>
    /// <param name="values">The newest last; where one is absent the line breaks.</param>
    /// <param name="text">Says a value, with its unit.</param>
    public static void AppendTo(StringBuilder page, string title, IReadOnlyList<double?> values, Func<double, string> text)
    {
        var known = values.OfType<double>().Where(double.IsFinite).ToList();
        var top = known.Count == 0 ? 0 : known.Max();
        var now = values.Count > 0 && values[^1] is { } last && double.IsFinite(last) ? text(last) : "\u2013";
        page.Append(CultureInfo.InvariantCulture, $"<figure><figcaption>{title}<b>{now}</b></figcaption>")
            .Append(
                CultureInfo.InvariantCulture,
                $"<svg viewBox=\"0 0 {Width} {Height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}: {now}\">"
            );
        foreach (var run in Runs(values))
        {
            var points = string.Join(' ', run.Select(point => $"{Text(X(point.Index))},{Text(Y(point.Value, top))}"));
            var (first, end) = (Text(X(run[0].Index)), Text(X(run[^1].Index)));
            page.Append(CultureInfo.InvariantCulture, $"<polygon points=\"{first},{Height} {points} {end},{Height}\"/>")
                .Append(CultureInfo.InvariantCulture, $"<polyline points=\"{points}\"/>");
        }

        page.Append(CultureInfo.InvariantCulture, $"</svg><small>highest {(known.Count == 0 ? "\u2013" : text(top))}</small></figure>");
    }

    /// <summary>Stretches without a gap.</summary>
    private static List<List<(int Index, double Value)>> Runs(IReadOnlyList<double?> values)
    {
        var runs = new List<List<(int Index, double Value)>>();
        var isOpen = false;
        for (var index = 0; index < values.Count; index++)
        {
            var value = values[index];
            if (value is { } number && double.IsFinite(number))
            {
                if (!isOpen)
                {
                    runs.Add([]);
                }

                runs[^1].Add((index + StatusSamples.Max - values.Count, number));
            }

            isOpen = value is { } finite && double.IsFinite(finite);
        }

        return runs;
    }

    private static double X(int index) => index * (double)Width / (StatusSamples.Max - 1);

    /// <summary>From the bottom; a line's own width is left at the top.</summary>
    private static double Y(double value, double top) => top <= 0 ? Height - 1 : Height - 1 - (value / top * (Height - 4));

    private static string Text(double value) => value.ToString("0.#", CultureInfo.InvariantCulture);
}
