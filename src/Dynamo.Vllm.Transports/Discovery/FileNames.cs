using System.Globalization;
using System.Text;

namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>Keys as file names: every byte except letters and digits becomes <c>%XX</c> (discovery.md, 4).</summary>
internal static class FileNames
{
    public static string Escape(string key)
    {
        var name = new StringBuilder(key.Length * 2);
        foreach (var octet in Encoding.UTF8.GetBytes(key))
        {
            if (char.IsAsciiLetterOrDigit((char)octet))
            {
                name.Append((char)octet);
            }
            else
            {
                name.Append('%').Append(octet.ToString("X2", CultureInfo.InvariantCulture));
            }
        }

        return name.ToString();
    }
}
