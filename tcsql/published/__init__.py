"""Published queries as the configuration says them: options of a section, and the typed places of a text. Pure.

What a query means in a table is not known here: ``http.published_query`` finds that out when the table is there.
"""
